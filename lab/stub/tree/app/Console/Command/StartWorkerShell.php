<?php
declare(strict_types=1);

/** `cake start_worker QUEUE`: pop, run, repeat. No signal handler, so TERM ends it at once and orphans its job. */
class StartWorkerShell extends AppShell
{
    private BackgroundJobsTool $tool;
    private string $queue = '';

    public static function exists(): bool
    {
        return Version::atLeast('2.4.151');
    }

    protected function subcommands(): array
    {
        return array();
    }

    /** @return mixed */
    public function runCommand(array $tokens)
    {
        // The list of queues comes from the tool, so bad Redis settings end the worker right here.
        $this->tool = $this->jobs();
        try {
            list($this->params, $this->args) = OptionParser::parse($tokens, array('maxExecutionTime' => array()));
            $this->checkQueue();
        } catch (ConsoleException $exception) {
            $this->err('Error: ' . $exception->getMessage());
            return $this->help();
        }
        $this->work();
        return true;
    }

    protected function help(): bool
    {
        $this->out('Usage:');
        $this->out('cake start_worker [-h] [-v] [-q] [--maxExecutionTime 86400] <queue>');
        return false;
    }

    private function checkQueue(): void
    {
        if (!isset($this->args[0])) {
            throw new ConsoleException('Missing required arguments. queue is required.');
        }
        $this->queue = $this->args[0];
        if (!in_array($this->queue, BackgroundJobsTool::QUEUES, true)) {
            throw new ConsoleException("\"{$this->queue}\" is not a valid value for queue. Please use one of \""
                . implode(', ', BackgroundJobsTool::QUEUES) . '"');
        }
    }

    /** Age is looked at between jobs only; at its end the exit is 0. */
    private function work(): void
    {
        $limit = (int)($this->params['maxExecutionTime'] ?? 86400);
        $born = time();
        Log::info($this->tag() . ' - starting to process background jobs...');
        while (true) {
            if ($limit > 0 && time() - $born >= $limit) {
                Log::info($this->tag() . ' - worker max execution time reached, exiting gracefully worker...');
                return;
            }
            $job = $this->tool->dequeue($this->queue);
            if ($job !== null) {
                $this->runJob($job);
            }
        }
    }

    private function runJob(BackgroundJob $job): void
    {
        Log::info($this->tag() . ' - launching job with ID: ' . $job->id());
        Ledger::handOver($job->id(), 'simple', $this->queue, $job->command(), $job->args());
        $job->touch(BackgroundJob::STATUS_RUNNING);
        $this->tool->update($job);
        Log::info("[JOB ID: {$job->id()}] - started command `" . $this->commandLine($job) . '`.');
        $start = microtime(true);
        $job->run(function (int $pid) use ($job): void {
            $this->tool->markAsRunning($this->queue, $job->id(), $pid);
        });
        $this->report($job, microtime(true) - $start);
        $job->touch($job->status());
        $this->tool->update($job);
        $this->tool->removeFromRunning($this->queue, $job->id());
    }

    private function report(BackgroundJob $job, float $seconds): void
    {
        $modern = Version::atLeast('2.4.184');
        $tag = "[JOB ID: {$job->id()}] -";
        if ($job->status() === BackgroundJob::STATUS_COMPLETED) {
            Log::info($tag . ' successfully completed' . ($modern ? sprintf(' in %.3f seconds', $seconds) : '') . '.');
            return;
        }
        Log::error($tag . " failed with error code {$job->returnCode()}"
            . ($modern ? sprintf(' after %.3f seconds', $seconds) : '')
            . ". STDERR: {$job->error()}. STDOUT: {$job->output()}.");
    }

    private function tag(): string
    {
        return '[WORKER PID: ' . getmypid() . '][' . $this->queue . ']';
    }

    private function commandLine(BackgroundJob $job): string
    {
        return implode(' ', array_merge(array($job->command()), array_map('strval', $job->args())));
    }
}
