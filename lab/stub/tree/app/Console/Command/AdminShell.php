<?php
declare(strict_types=1);

/** The administrator's command line, and the stub's numbered test job. */
class AdminShell extends AppShell
{
    use StubJob;

    const NOT_HERE = 'This method does nothing when SimpleBackgroundJobs are enabled.';
    const UPDATE_USERS = array('httpd', 'www-data', 'apache', 'wwwrun', 'travis', 'www');

    protected function subcommands(): array
    {
        $plain = array('getSetting', 'getWorkers', 'restartWorkers', 'restartWorker', 'killWorker', 'startWorker',
            'live', 'redisReady', 'runUpdates', 'updateJSON', 'updateGalaxies', 'updateTaxonomies',
            'updateWarningLists', 'updateNoticeLists', 'updateObjectTemplates');
        return array(
            'setSetting' => array('force' => array('short' => 'f', 'flag' => true),
                'null' => array('short' => 'n', 'flag' => true)),
            'stubJob' => self::stubJobOptions(),
        ) + array_fill_keys($plain, array());
    }

    /** @return mixed */
    public function setSetting()
    {
        $name = $this->args[0] ?? null;
        $value = empty($this->params['null']) ? ($this->args[1] ?? null) : null;
        if ($name === null || ($value === null && empty($this->params['null']))) {
            return $this->noValue();
        }
        $setting = SettingsCatalog::find($name);
        if ($setting === null) {
            $this->error('Setting change rejected.', "Invalid setting \"$name\". Please make sure that the setting that "
                . 'you are attempting to change exists and if a module parameter, the modules are running.');
        }
        $value = Version::atLeast('2.4.184') ? $this->typed($setting, $value) : $this->typedOld($setting, $value);
        $result = SettingsEdit::apply($setting, $value, !empty($this->params['force']));
        if ($result !== true) {
            $this->error('Setting change rejected.', 'The setting change was rejected. MISP considers the requested '
                . "setting value as invalid and would lead to the following error:\n\n\"$result\"\n\nIf you still want to "
                . "force this change, please supply the --force argument.\n");
        }
        // MISP echoes the value, passwords included.
        $this->out("Setting \"$name\" changed to " . $this->shown($value));
        return true;
    }

    private function noValue(): void
    {
        if (!Version::atLeast('2.4.184')) {
            $this->usage('MISP/app/Console/cake Admin setSetting [setting_name] [setting_value]');
        }
        $this->error('No setting value provided.');
    }

    /** @return mixed */
    private function typed(array $setting, ?string $value)
    {
        if ($value === null) {
            return null;
        }
        if ($setting['type'] === 'boolean') {
            $states = array('true' => true, '1' => true, 'false' => false, '0' => false);
            if (!isset($states[strtolower($value)])) {
                $this->error("Invalid state value `$value`, it must be `true`, `false`, `1`, or `0`.");
            }
            return $states[strtolower($value)];
        }
        if ($setting['type'] === 'numeric') {
            if (!is_numeric($value)) {
                $this->error("Setting \"{$setting['setting']}\" change rejected.",
                    "Provided value $value is not a number.");
            }
            return (int)$value;
        }
        return $value;
    }

    /**
     * Up to 2.4.183: true and false become 1 and 0, and the value is cast without a word.
     * @return mixed
     */
    private function typedOld(array $setting, ?string $value)
    {
        if ($value === 'true' || $value === 'false') {
            $value = $value === 'true' ? '1' : '0';
        }
        return SettingsEdit::cast($setting, $value);
    }

    /** @param mixed $value */
    private function shown($value): string
    {
        if (is_bool($value) && !Version::atLeast('2.4.184')) {
            return $value ? '1' : '0';
        }
        return is_string($value) ? '"' . $value . '"' : (string)json_encode($value);
    }

    /** Prints redacted values in clear, as MISP does; an unknown name is a JSON string and exit 0. */
    public function getSetting(): void
    {
        $name = $this->args[0] ?? null;
        if ($name === null) {
            $this->usage('MISP/app/Console/cake Admin getSetting [setting_name|all]');
        }
        if ($name === 'all') {
            $this->json(array_map(array(SettingsCatalog::class, 'withValue'), SettingsCatalog::all()));
            return;
        }
        $setting = SettingsCatalog::find($name);
        $this->json($setting === null ? "No valid setting found for $name" : SettingsCatalog::withValue($setting));
    }

    public function getWorkers(): void
    {
        $workers = (new WorkerDiagnostics($this->jobs()))->collect();
        if (($this->args[0] ?? 'all') === 'dead') {
            $workers = $this->deadOnly($workers);
        }
        $this->json($workers);
    }

    /** Drops workers that live, then queues without any, then the scalar keys. */
    private function deadOnly(array $queues): array
    {
        $dead = array();
        foreach ($queues as $queue => $entry) {
            $left = array_filter($entry['workers'] ?? array(), static function (array $worker): bool {
                return !$worker['alive'];
            });
            if (is_array($entry) && $left !== array()) {
                $dead[$queue] = array('workers' => array_values($left)) + $entry;
            }
        }
        return $dead;
    }

    private function legacyOnly(): void
    {
        if ($this->jobs()->enabled() && Version::atLeast('2.4.152')) {
            $this->error(self::NOT_HERE);
        }
    }

    public function restartWorkers(): void
    {
        $this->legacyOnly();
        OldWorkers::restart();
        $this->out("\nWorkers restarted.");
    }

    public function restartWorker(): void
    {
        $this->legacyOnly();
        $this->usage('MISP/app/Console/cake Admin restartWorker [PID]');
    }

    public function killWorker(): void
    {
        $this->legacyOnly();
        if (!isset($this->args[0])) {
            $this->usage('MISP/app/Console/cake Admin killWorker [PID]');
        }
        posix_kill((int)$this->args[0], SIGTERM);
        ResqueStatus::removeWorker((int)$this->args[0]);
        $this->out("\nWorker killed.");
    }

    public function startWorker(): void
    {
        $this->legacyOnly();
        $queue = escapeshellarg($this->args[0] ?? 'default');
        exec(escapeshellarg(APP . 'Console/cake') . " CakeResque.CakeResque start --interval 5 --queue $queue");
        $this->out("\nWorker started.");
    }

    /** Maintenance switch: a Redis key for the running processes, and the setting for those to come. */
    public function live(): void
    {
        $state = strtolower($this->args[0] ?? '');
        if (!in_array($state, array('true', 'false', '1', '0'), true)) {
            $this->liveState();
            return;
        }
        $live = $state === 'true' || $state === '1';
        RedisTool::connect()->set('misp:live', $live ? '1' : '0');
        $this->out('Set live status to ' . ($live ? 'True' : 'False') . ' in Redis.');
        SettingsStore::save('MISP.live', $live);
        $this->out('Set live status in PHP config file.');
        $this->out($live ? 'MISP is now live. Users can now log in.'
            : 'MISP is now disabled. Only site admins can log in.');
    }

    private function liveState(): void
    {
        $key = RedisTool::connect()->get('misp:live');
        $redis = $key === false || $key === '1';
        $file = !empty(Configure::read('MISP.live'));
        $this->out('Redis: ' . ($redis ? 'True' : 'False'));
        $this->out('PHP config: ' . ($file ? 'True' : 'False'));
        $this->out('MISP is ' . ($redis && $file ? 'live.' : 'disabled.'));
    }

    /** Looks at MISP.redis_*, not at SimpleBackgroundJobs.redis_*: the ideal harmless job. */
    public function redisReady(): void
    {
        try {
            $redis = RedisTool::connect();
            $redis->ping();
            $this->out('Successfully connected to Redis.');
        } catch (RedisException $exception) {
            $this->error('Redis is not ready.', $exception->getMessage());
        }
    }

    public function runUpdates(): void
    {
        $user = WorkerDiagnostics::whoami();
        if (!in_array($user, self::UPDATE_USERS, true) && $user !== Configure::read('MISP.osuser')) {
            $this->error("This OS user is not allowed to run this command. Run it under `www-data` or `httpd` or "
                . '`apache` or `wwwrun` or set MISP.osuser in the configuration.', "You tried to run this command as: "
                . $user);
        }
        $this->out('All updates completed.');
    }

    public function updateJSON(): void
    {
        $this->out('All JSON structures updated. Thank you and have a very safe and productive day.');
    }

    public function updateGalaxies(): void
    {
        $this->out('Galaxies updated');
    }

    public function updateTaxonomies(): void
    {
        $this->out('Taxonomies updated');
    }

    public function updateWarningLists(): void
    {
        $this->out('Warning lists updated');
    }

    public function updateNoticeLists(): void
    {
        $this->out('Notice lists updated');
    }

    public function updateObjectTemplates(): void
    {
        $this->out('Object templates updated');
    }
}
