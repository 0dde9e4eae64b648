<?php

/** start, startscheduler, stop, pause, resume, stats: real daemons, behind a bash wrapper each. */
class CakeResqueShell extends AppShell
{
    const NO_PCNTL = 'This function requires the PCNTL extension';

    protected function subcommands(): array
    {
        $start = array('interval' => array('short' => 'i'), 'queue' => array('short' => 'q'),
            'workers' => array('short' => 'n'), 'user' => array('short' => 'u'));
        $signal = array('all' => array('short' => 'a', 'flag' => true), 'force' => array('short' => 'f', 'flag' => true));
        return array('start' => $start, 'startscheduler' => $start, 'startScheduler' => $start, 'stop' => $signal,
            'pause' => $signal, 'resume' => $signal, 'cleanup' => $signal, 'stats' => array());
    }

    public function start(): void
    {
        $this->out('Creating workers');
        for ($left = (int)($this->params['workers'] ?? 1); $left > 0; $left--) {
            $this->out('Starting worker ', 0);
            $this->launch('regular', $this->params['queue'] ?? 'default', 'php-resque-ex', './bin/resque');
        }
        $this->out('');
    }

    public function startscheduler()
    {
        $this->out('Creating the scheduler workers');
        if (ResqueStatus::schedulerRuns()) {
            $this->out('The scheduler worker is already running');
            return false;
        }
        $this->out('Starting scheduler worker ', 0);
        $this->launch('scheduler', Resque::DELAYED, 'php-resque-ex-scheduler', './bin/resque-scheduler.php');
        $this->out('');
        return true;
    }

    private function launch(string $type, string $queue, string $library, string $script): void
    {
        $pidFile = $this->pidFile();
        exec($this->command($type, $queue, $library, $script, $pidFile));
        for ($attempt = 0; $attempt < 30; $attempt++) {
            $this->out('.', 0);
            usleep(100000);
            $pid = is_file($pidFile) ? (int)file_get_contents($pidFile) : 0;
            if ($pid > 0) {
                unlink($pidFile);
                $this->register($pid, $type, $queue);
                $this->out(' Done');
                return;
            }
        }
        $this->out(' Fail');
    }

    private function pidFile(): string
    {
        $directory = Plugins::path('CakeResque') . '/tmp';
        @mkdir($directory);
        return $directory . '/' . str_replace('.', '', (string)microtime(true));
    }

    /** Everything goes by the environment of a bash wrapper, the Redis password too: it shows in the process list. */
    private function command(string $type, string $queue, string $library, string $script, string $pidFile): string
    {
        $redis = Configure::read('CakeResque.Redis');
        $environment = array(
            'QUEUE' => $type === 'scheduler' ? 'default' : $queue,
            'PIDFILE' => $pidFile,
            'APP_INCLUDE' => Plugins::path('CakeResque') . '/Lib/CakeResqueBootstrap.php',
            'INTERVAL' => $this->params['interval'] ?? '5',
            'REDIS_BACKEND' => $redis['host'] . ':' . $redis['port'],
            'REDIS_DATABASE' => (string)$redis['database'],
            'REDIS_NAMESPACE' => $redis['namespace'],
            'COUNT' => '1',
        );
        if (!empty($redis['password'])) {
            $environment['REDIS_PASSWORD'] = $redis['password'];
        }
        $words = array();
        foreach ($environment as $name => $value) {
            $words[] = "$name=" . escapeshellarg($value);
        }
        $log = APP . 'tmp/logs/resque-' . ($type === 'scheduler' ? 'scheduler' : 'worker') . '-error.log';
        return sprintf(
            "nohup  \\\n bash -c \"cd %s; \\\n %s \\\n php %s \\\n >> %s \\\n 2>&1; exit \\\$?\" >/dev/null 2>&1 &",
            escapeshellarg(APP . "Vendor/kamisama/$library"),
            implode(" \\\n ", $words),
            escapeshellarg($script),
            escapeshellarg($log)
        );
    }

    private function register(int $pid, string $type, string $queue): void
    {
        if ($type === 'scheduler') {
            ResqueStatus::registerScheduler($pid);
        }
        ResqueStatus::addWorker($pid, array('queue' => $queue, 'interval' => $this->params['interval'] ?? '5',
            'workers' => 1, 'user' => WorkerDiagnostics::whoami(), 'type' => $type,
            'log' => APP . 'tmp/logs/resque-worker-error.log'));
    }

    /** QUIT is graceful, and the command does not wait for it: the worker may work on for a long time. */
    public function stop(): void
    {
        $force = !empty($this->params['force']);
        $this->signal('Stopping workers' . ($force ? ' (force)' : ''), 'There is no workers to stop ...', 'Stopping',
            Resque::workers(), $force ? SIGTERM : SIGQUIT, static function (string $worker): void {
                ResqueStatus::setPaused($worker, false);
                if (ResqueStatus::isScheduler($worker)) {
                    ResqueStatus::unregisterScheduler();
                }
                // Out of the page's list before the process has ended.
                ResqueStatus::removeWorker((int)explode(':', $worker)[1]);
            });
    }

    public function pause(): void
    {
        $this->signal('Pausing workers', 'There is no active workers to pause ...', 'Pausing',
            array_values(array_diff(Resque::workers(), ResqueStatus::paused())), SIGUSR2,
            static function (string $worker): void {
                ResqueStatus::setPaused($worker, true);
            });
    }

    public function resume(): void
    {
        $this->signal('Resuming workers', 'There is no paused workers to resume ...', 'Resuming',
            ResqueStatus::paused(), SIGCONT, static function (string $worker): void {
                ResqueStatus::setPaused($worker, false);
            });
    }

    public function cleanup(): void
    {
        $this->signal('Cleaning up workers', 'There is no active workers to clean up ...', 'Cleaning up',
            Resque::workers(), SIGUSR1, static function (string $worker): void {
            });
    }

    /** Signals whatever now has the pid: a stale entry from before a reboot can hit a stranger. */
    private function signal(string $title, string $none, string $verb, array $workers, int $signal, callable $then): void
    {
        if (!function_exists('pcntl_signal') || StubState::get('no_pcntl', false)) {
            $this->out(self::NO_PCNTL);
            return;
        }
        $this->out($title);
        if ($workers === array()) {
            $this->out("   $none");
        }
        foreach ($this->chosen($workers) as $worker) {
            $pid = (int)explode(':', $worker)[1];
            $this->out(ResqueStatus::isScheduler($worker) ? "$verb the Scheduler Worker ... " : "$verb $pid ... ", 0);
            $sent = posix_kill($pid, $signal);
            $then($worker);
            $this->out($sent ? 'Done' : "kill: ($pid) - " . posix_strerror(posix_get_last_error()));
        }
        $this->out('');
    }

    /** Without --all and with several workers it asks which; without an answer it does nothing. */
    private function chosen(array $workers): array
    {
        if (!empty($this->params['all']) || count($workers) < 2) {
            return $workers;
        }
        $this->out('Workers list:');
        foreach ($workers as $index => $worker) {
            $this->out(sprintf('    [%3d] - %s', $index + 1, $worker));
        }
        $this->out('    [all] - all of them');
        $answer = trim((string)fgets(STDIN));
        if ($answer === 'all') {
            return $workers;
        }
        return isset($workers[(int)$answer - 1]) ? array($workers[(int)$answer - 1]) : array();
    }

    public function stats(): void
    {
        $this->out('Resque Statistics');
        $this->out('');
        $this->out('Jobs Stats');
        $this->out('   Processed Jobs : ' . Resque::stat('processed'));
        $this->out('   Failed Jobs    : ' . Resque::stat('failed'));
        $this->out('');
        $this->out('Queues Stats');
        foreach (Resque::redis()->sMembers('queues') as $queue) {
            $this->out("   - $queue : " . Resque::size($queue) . ' pending jobs');
        }
        $this->out('');
        $this->out('Workers Stats');
        $this->out('   Active Workers : ' . count(Resque::workers()));
        foreach (Resque::workers() as $worker) {
            $this->out("    - $worker");
        }
        $this->out('');
    }
}
