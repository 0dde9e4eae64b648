<?php
declare(strict_types=1);

final class ServersController extends AppController
{
    const ACTIONS = array('getVersion' => 'GET', 'getWorkers' => 'GET', 'startWorker' => 'POST', 'stopWorker' => 'POST',
        'restartWorkers' => 'POST', 'restartDeadWorkers' => 'POST', 'killAllWorkers' => 'POST', 'getSetting' => 'GET',
        'serverSettingsEdit' => 'ANY', 'serverSettings' => 'GET', 'clearWorkerQueue' => 'POST');
    const FAILED = 'Could not serverSettingsEdit Server';

    public function getVersion(): array
    {
        return array('version' => Version::current(), 'pymisp_recommended_version' => Version::current(),
            'perm_sync' => true, 'perm_sighting' => true, 'perm_galaxy_editor' => true,
            'request_encoding' => array('gzip'), 'filter_sightings' => true);
    }

    public function getWorkers(): array
    {
        try {
            $tool = $this->tool();
        } catch (RedisException $exception) {
            // Redis of the new backend out of reach: 200 here with nothing ok, and 500 on the diagnostics page.
            Log::error('[SimpleBackgroundJobs] ' . $exception->getMessage());
            return WorkerDiagnostics::nothingOk();
        }
        return (new WorkerDiagnostics($tool))->collect();
    }

    /** Says success also when there was nothing to start. */
    public function startWorker(string $queue = ''): array
    {
        if (!in_array($queue, BackgroundJobsTool::QUEUES, true)) {
            throw new InvalidArgumentException("Invalid worker type $queue.");
        }
        if ($this->tool()->enabled()) {
            $this->tool()->supervisor()->startOne($queue);
        }
        return $this->saved('Worker start signal sent', $this->path, $queue);
    }

    public function stopWorker(string $pid = ''): array
    {
        $found = $this->tool()->enabled() ? $this->tool()->supervisor()->stop($pid)
            : posix_kill((int)$pid, SIGTERM);
        if (!$found) {
            throw new HttpError("Worker with pid=$pid not found.", 404);
        }
        return $this->saved('Worker stop signal sent', $this->path, $pid);
    }

    public function restartWorkers(): array
    {
        if ($this->tool()->enabled()) {
            $this->tool()->supervisor()->restartAll();
        } else {
            OldWorkers::restart();
        }
        return $this->saved('Restarting workers.', $this->path);
    }

    public function restartDeadWorkers(): array
    {
        if ($this->tool()->enabled()) {
            $this->tool()->supervisor()->startDead();
        }
        return $this->saved('Restarting workers.', $this->path);
    }

    /** Not adapted to the new backend: kills whatever the old workers' hash lists, strangers with a reused pid too. */
    public function killAllWorkers(string $force = ''): array
    {
        foreach (array_keys(ResqueStatus::workers()) as $pid) {
            posix_kill((int)$pid, $force === '' ? SIGTERM : SIGKILL);
        }
        return $this->saved('Killing workers.', $this->path);
    }

    public function clearWorkerQueue(string $queue = ''): array
    {
        $this->tool()->clear($queue);
        return $this->saved('Queue cleared.', $this->path, $queue);
    }

    public function getSetting(string $name = ''): array
    {
        $setting = $this->setting($name);
        if (!empty($setting['redacted'])) {
            throw new HttpError('This setting is redacted.', 403);
        }
        return SettingsCatalog::withValue($setting) + array('name' => $name);
    }

    private function setting(string $name): array
    {
        $setting = SettingsCatalog::find($name);
        if ($setting === null) {
            throw new HttpError("Setting $name is invalid.", 404);
        }
        return $setting;
    }

    public function serverSettingsEdit(string $name = ''): array
    {
        $setting = $this->setting($name);
        if ($_SERVER['REQUEST_METHOD'] === 'GET') {
            return array($name => $this->getSetting($name)['value']);
        }
        $input = $this->input();
        $input = $input['Server'] ?? $input;
        if (!array_key_exists('value', $input)) {
            return $this->refused('Invalid input. Expected: {"value": "new_setting"}');
        }
        if ($input['value'] === '*****') {
            return $this->refused('No change.');
        }
        if (empty(Configure::read('MISP.system_setting_db')) && !is_writable(SettingsStore::file())) {
            return $this->refused('app/Config.config.php is not writeable to the apache user.');
        }
        $result = SettingsEdit::apply($setting, SettingsEdit::cast($setting, $input['value']), false);
        return $result === true ? $this->saved('Field updated', '/servers/serverSettingsEdit')
            : $this->refused($result);
    }

    private function refused(string $reason): array
    {
        return array('saved' => false, 'name' => self::FAILED, 'message' => self::FAILED,
            'url' => '/servers/serverSettingsEdit', 'errors' => $reason, '__status' => 403);
    }

    public function serverSettings(string $tab = ''): array
    {
        $settings = array_map(array($this, 'redactedValue'), SettingsCatalog::all());
        if ($tab !== 'diagnostics') {
            return array_values(array_filter($settings, static function (array $setting) use ($tab): bool {
                return $tab === '' || $setting['tab'] === $tab;
            }));
        }
        $diagnostics = new WorkerDiagnostics($this->tool());
        return array(
            'version' => array('current' => 'v' . Version::current(), 'upToDate' => 'error'),
            'workers' => $diagnostics->collect(),
            'backgroundJobsStatus' => $diagnostics->backgroundJobsStatus(),
            'phpversion' => PHP_VERSION,
            'finalSettings' => $settings,
        );
    }

    private function redactedValue(array $setting): array
    {
        $setting = SettingsCatalog::withValue($setting);
        if (!empty($setting['redacted'])) {
            $setting['value'] = '*****';
        }
        return $setting;
    }
}
