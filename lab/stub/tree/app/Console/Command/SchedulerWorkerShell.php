<?php
declare(strict_types=1);

/** `cake scheduler_worker`, since 2.5.18: the native scheduler, here a loop that only says it is alive. */
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
            sleep(10);
        }
        return true;
    }
}
