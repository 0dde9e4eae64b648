<?php
declare(strict_types=1);

/** The one way to change a setting, from the command line and over REST. No test ever connects to anything. */
final class SettingsEdit
{
    /**
     * @param mixed $value
     * @return true|string
     */
    public static function apply(array $setting, $value, bool $force)
    {
        if (!$force && $value !== null) {
            $problem = SettingsCatalog::test($setting, $value);
            if ($problem !== true) {
                return $problem;
            }
        }
        $saved = SettingsStore::save($setting['setting'], $value);
        if ($saved === true && $setting['setting'] === 'SimpleBackgroundJobs.redis_serializer') {
            self::restartWorkers();
        }
        return $saved;
    }

    /** MISP's hook on the serializer: the pair of calls that leaves some workers stopped. */
    private static function restartWorkers(): void
    {
        try {
            $tool = BackgroundJobsTool::forCli();
            if ($tool->enabled()) {
                $tool->supervisor()->restartAll();
            }
        } catch (Exception $exception) {
            Log::error('[SimpleBackgroundJobs] ' . $exception->getMessage());
        }
    }

    /**
     * Over REST nothing is refused for its type: port "abc" becomes 0, enabled "maybe" becomes true.
     * @param mixed $value
     * @return mixed
     */
    public static function cast(array $setting, $value)
    {
        if ($value === null) {
            return null;
        }
        if ($setting['type'] === 'boolean') {
            return (bool)$value;
        }
        if ($setting['type'] === 'numeric') {
            return (int)$value;
        }
        return (string)$value;
    }
}
