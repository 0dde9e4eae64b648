<?php
declare(strict_types=1);

/** The configuration of *this* process, read once: a running worker keeps the one it started with. */
final class Configure
{
    private static array $data = array();

    public static function load(): void
    {
        self::$data = SettingsStore::effective();
        // The stored job and queue settings of CakeResque are the plugin's own file: a third Redis configuration.
        $plugin = APP . 'Plugin/CakeResque/Config/config.php';
        if (is_file($plugin)) {
            $config = array();
            include $plugin;
            self::$data['CakeResque'] = $config['CakeResque'] ?? array();
        }
    }

    /** @return mixed null when any part of the path is missing */
    public static function read(string $path)
    {
        $value = self::$data;
        foreach (explode('.', $path) as $part) {
            if (!is_array($value) || !array_key_exists($part, $value)) {
                return null;
            }
            $value = $value[$part];
        }
        return $value;
    }

    /** @param mixed $value */
    public static function write(string $path, $value): void
    {
        self::$data = self::with(self::$data, explode('.', $path), $value);
    }

    /** @param mixed $value */
    public static function with(array $data, array $path, $value): array
    {
        $head = array_shift($path);
        $below = is_array($data[$head] ?? null) ? $data[$head] : array();
        $data[$head] = $path === array() ? $value : self::with($below, $path, $value);
        return $data;
    }

    public static function all(): array
    {
        return self::$data;
    }
}
