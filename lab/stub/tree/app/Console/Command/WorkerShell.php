<?php
declare(strict_types=1);

/** `cake Worker`, since 2.4.184. With the new backend off it ends in an Error, since nothing is connected then. */
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

    public function showQueues(): void
    {
        $tool = $this->jobs();
        foreach (BackgroundJobsTool::QUEUES as $queue) {
            $running = $tool->running($queue);
            $this->out("$queue:\t" . $tool->size($queue));
            foreach ($running as $id => $data) {
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
        $this->out('Deleted ' . $this->jobs()->clear($queue) . " jobs from $queue queue.");
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
        $job = $this->jobs()->job($id);
        if ($job === null) {
            $this->error('Job not found');
        }
        $record = $job->jsonSerialize();
        $record['status'] = BackgroundJob::WORDS[$record['status']] ?? 'unknown';
        $this->json($record);
    }
}
