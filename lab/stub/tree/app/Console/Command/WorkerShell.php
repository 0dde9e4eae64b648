<?php
declare(strict_types=1);

/** `cake Worker`, since 2.4.184. */
class WorkerShell extends AppShell
{
    public static function exists(): bool
    {
        return Version::atLeast('2.4.184');
    }

    protected function subcommands(): array
    {
        return array('showQueues' => array(), 'flushQueue' => array(), 'showJobStatus' => array());
    }

    private function modern(): BackgroundJobsTool
    {
        $tool = $this->jobs();
        if (!$tool->enabled()) {
            $this->error('This method does nothing when SimpleBackgroundJobs are disabled.');
        }
        return $tool;
    }

    public function showQueues(): void
    {
        $tool = $this->modern();
        foreach (BackgroundJobsTool::QUEUES as $queue) {
            $this->out("$queue:\t" . $tool->size($queue));
            foreach ($tool->running($queue) as $id => $data) {
                $this->out(" - $id (" . json_encode($data) . ')');
            }
        }
    }

    public function flushQueue(): void
    {
        $queue = $this->args[0] ?? '';
        if (!in_array($queue, BackgroundJobsTool::QUEUES, true)) {
            $this->error("\"$queue\" is not a valid queue.");
        }
        $this->out('Deleted ' . $this->modern()->clear($queue) . " jobs from $queue queue.");
    }

    public function showJobStatus(): void
    {
        $id = $this->args[0] ?? '';
        foreach (ctype_digit($id) ? JobTable::rows() : array() as $row) {
            if ($row['id'] === $id) {
                $id = (string)$row['process_id'];
                break;
            }
        }
        $job = $this->modern()->job($id);
        if ($job === null) {
            $this->error('Job not found');
        }
        $record = $job->jsonSerialize();
        $record['status'] = BackgroundJob::WORDS[$record['status']] ?? 'unknown';
        $this->json($record);
    }
}
