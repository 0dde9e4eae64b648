<?php
declare(strict_types=1);

/** `cake scheduler_worker`, since 2.5.18: MISP's own scheduler. Where the host has no database it only lives. */
class SchedulerWorkerShell extends AppShell
{
    public static function exists(): bool
    {
        return Version::atLeast('2.5.18');
    }

    protected function subcommands(): array
    {
        return array();
    }

    /** @return mixed */
    public function runCommand(array $tokens)
    {
        Log::info('[SCHEDULER PID: ' . getmypid() . '] - starting to process scheduled tasks...');
        $end = time() + 86400;
        while (time() < $end) {
            $this->runDue();
            sleep(10);
        }
        return true;
    }

    private function runDue(): void
    {
        try {
            $tasks = TaskTable::run('SELECT * FROM tasks WHERE enabled AND next_execution_time <= ?', time());
        } catch (PDOException $error) {
            return;
        }
        foreach ($tasks as $task) {
            $missed = max(1, ceil((time() - $task['next_execution_time']) / $task['timer']));
            $next = $task['next_execution_time'] + $missed * $task['timer'];
            TaskTable::run('UPDATE tasks SET next_execution_time = ? WHERE id = ?', $next, $task['id']);
            $command = $task['type'] === 'Feed' ? $task['action'] . 'Feed' : $task['action'] . 'All';
            $scope = $task['type'] === 'Feed' ? 'all' : 'full';
            $this->jobs()->enqueue('default', 'server', array($command, (string)$task['user_id'], $scope));
        }
    }
}
