<?php
declare(strict_types=1);

/** Not in MISP: numbered jobs through the web tier, on every queue and with the options of stub_enqueue.php. */
final class StubJobsController extends AppController
{
    const ACTIONS = array('enqueue' => 'POST');

    /** Like /events/publish: a row in the jobs table, and the backend that *this process* has in its configuration. */
    public function enqueue(string $number = ''): array
    {
        if (!ctype_digit($number)) {
            throw new HttpError('Invalid number.', 404);
        }
        $input = $this->input();
        $queue = (string)($input['queue'] ?? 'default');
        $tool = $this->tool();
        $row = JobTable::create($queue, 'stub_job', "Number: $number", 'Waiting.');
        $id = $tool->enqueue($queue, 'admin', NumberedJob::arguments($input, (int)$number), $row);
        return $this->saved('Job queued', $this->path, $number)
            + array('job_id' => $id, 'backend' => $tool->enabled() ? 'simple' : 'resque');
    }
}
