<?php
declare(strict_types=1);

/** What `Admin getWorkers`, GET /servers/getWorkers and the diagnostics page show. */
final class WorkerDiagnostics
{
    private BackgroundJobsTool $tool;
    private ?bool $supervisorStatus = null;

    public function __construct(BackgroundJobsTool $tool)
    {
        $this->tool = $tool;
    }

    /** Effective uid in /proc/PID/status, else `ps`; where /proc is hidden both say nothing: "wrong user". */
    public static function userOf(int $pid): string
    {
        $file = "/proc/$pid/status";
        if (self::hidden() || !file_exists($file)) {
            return '';
        }
        preg_match('/^Uid:\s+\d+\s+(\d+)/m', (string)file_get_contents($file), $match);
        $owner = posix_getpwuid((int)($match[1] ?? -1));
        return $owner === false ? '' : $owner['name'];
    }

    public static function whoami(): string
    {
        return posix_getpwuid(posix_geteuid())['name'] ?? '';
    }

    public function collect(): array
    {
        if (empty(Configure::read('MISP.background_jobs'))) {
            return array('Background jobs not enabled');
        }
        $modern = $this->tool->enabled();
        $workers = $modern ? $this->modernWorkers() : self::legacyWorkers();
        $result = array();
        foreach ($this->queues($workers, $modern) as $queue) {
            $result[$queue] = $this->queue($queue, $workers, $modern);
        }
        ksort($result);
        $result['proc_accessible'] = file_exists('/proc') && !self::hidden();
        $result['controls'] = Configure::read('MISP.manage_workers') ?? 1;
        if ($modern && Version::atLeast('2.4.153')) {
            $result['supervisord_status'] = $this->supervisorRuns();
        }
        return $result;
    }

    public static function nothingOk(): array
    {
        $queues = array_fill_keys(array('cache', 'default', 'email', 'prio', 'update'),
            array('ok' => false, 'jobCount' => 0));
        return $queues + array('proc_accessible' => file_exists('/proc') && !self::hidden(),
            'controls' => Configure::read('MISP.manage_workers') ?? 1, 'supervisord_status' => false);
    }

    public function backgroundJobsStatus(): string
    {
        if (!$this->tool->enabled()) {
            return 'Not configured (so not tested)';
        }
        return $this->supervisorRuns() ? 'OK' : 'Error connecting to Supervisor.';
    }

    private function queues(array $workers, bool $modern): array
    {
        $queues = array('cache', 'default', 'email', 'prio', 'update');
        if (!$modern) {
            $queues[] = 'scheduler';
        }
        foreach ($workers as $worker) {
            if ($worker->queue === 'scheduler') {
                $queues[] = 'scheduler';
            }
        }
        return array_unique($queues);
    }

    /** A queue is ok when one of its workers is: missing ones are simply not in the list. */
    private function queue(string $queue, array $workers, bool $modern): array
    {
        $entry = array('ok' => false);
        foreach ($workers as $worker) {
            if ($worker->queue === $queue) {
                $entry['workers'][] = $this->worker($worker);
            }
        }
        foreach ($entry['workers'] ?? array() as $worker) {
            $entry['ok'] = $entry['ok'] || $worker['ok'];
        }
        $entry['jobCount'] = $modern ? $this->tool->size($queue) : self::legacySize($queue);
        return $entry;
    }

    private function worker(Worker $worker): array
    {
        $correct = $worker->user === self::whoami();
        $alive = $correct && (self::hidden() ? false : file_exists("/proc/{$worker->pid}"));
        return array('pid' => $worker->pid, 'user' => $worker->user, 'alive' => $alive, 'correct_user' => $correct,
            'ok' => $alive && $correct);
    }

    /** @return Worker[] An Exception is logged and means none; a missing class is an Error and goes through. */
    private function modernWorkers(): array
    {
        try {
            return $this->tool->supervisor()->workers();
        } catch (Exception $exception) {
            Log::error('[SimpleBackgroundJobs] ' . $exception->getMessage() . "\n" . $exception->getTraceAsString());
            return array();
        }
    }

    private function supervisorRuns(): bool
    {
        if ($this->supervisorStatus === null) {
            try {
                $this->supervisorStatus = $this->tool->supervisor()->isRunning();
            } catch (Exception $exception) {
                Log::error('[SimpleBackgroundJobs] ' . $exception->getMessage());
                $this->supervisorStatus = false;
            }
        }
        return $this->supervisorStatus;
    }

    /** @return Worker[] only as true as the hash ResqueWorker: stale entries stay for ever */
    private static function legacyWorkers(): array
    {
        $workers = array();
        foreach (ResqueStatus::workers() as $pid => $args) {
            $queue = ($args['type'] ?? 'regular') === 'scheduler' ? 'scheduler' : $args['queue'];
            $workers[] = new Worker((int)$pid, $queue, (string)($args['user'] ?? ''));
        }
        return $workers;
    }

    private static function legacySize(string $queue): int
    {
        return $queue === 'scheduler' ? 0 : Resque::size($queue);
    }

    private static function hidden(): bool
    {
        return PHP_SAPI !== 'cli' && (bool)StubState::get('proc_hidden', false);
    }
}
