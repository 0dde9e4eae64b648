<?php
declare(strict_types=1);

final class JobsController extends AppController
{
    const ACTIONS = array('index' => 'GET');

    public function index(): array
    {
        $tool = $this->tool();
        $workers = (new WorkerDiagnostics($tool))->collect();
        $rows = array();
        foreach (JobTable::rows() as $job) {
            $job['job_status'] = $this->status($tool, (string)($job['process_id'] ?? ''));
            $job['failed'] = $job['job_status'] === 'Failed';
            $job['worker_status'] = $workers[$job['worker']]['ok'] ?? false;
            $rows[] = array('Job' => $job, 'Org' => array('id' => '1', 'name' => 'ORGNAME', 'uuid' => '0'));
        }
        return $rows;
    }

    /** Cut-off JSON in a status key is a TypeError, so the whole page is a 500 until the key is gone. */
    private function status(BackgroundJobsTool $tool, string $processId): string
    {
        if ($processId === '') {
            return 'Unknown';
        }
        $status = $tool->enabled() ? $this->modernStatus($tool, $processId) : $this->legacyStatus($processId);
        return ucfirst(BackgroundJob::WORDS[$status] ?? 'unknown');
    }

    private function modernStatus(BackgroundJobsTool $tool, string $id): int
    {
        $job = $tool->job($id);
        return $job === null ? 0 : $job->status();
    }

    private function legacyStatus(string $id): int
    {
        $record = json_decode((string)Resque::redis()->get("job:$id:status"), true);
        return (int)($record['status'] ?? 0);
    }
}
