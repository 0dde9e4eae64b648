<?php
declare(strict_types=1);

/** Jobs on events. */
class EventShell extends AppShell
{
    protected function subcommands(): array
    {
        return array_fill_keys(array('publish', 'enqueueCaching', 'cache', 'contactemail', 'processfreetext',
            'processmoduleresult', 'publish_sightings'), array());
    }

    /** publish EVENT_ID PASS_ALONG JOB_ID USER_ID */
    public function publish(): void
    {
        if (!isset($this->args[0])) {
            $this->usage('MISP/app/Console/cake Event publish [event_id] [pass_along] [job_id] [user_id]');
        }
        $row = (int)($this->args[2] ?? 0);
        if ($row > 0) {
            JobTable::change($row, array('status' => '4', 'progress' => '100', 'message' => 'Event published.'));
        }
    }

    public function enqueueCaching(): void
    {
        $this->out('Nothing to cache.');
    }

    public function cache(): void
    {
        $this->out('Job done.');
    }

    public function contactemail(): void
    {
        $this->out('Job done.');
    }

    /** processfreetext DATA */
    public function processfreetext(): void
    {
        if (empty($this->args[0])) {
            $this->usage('MISP/app/Console/cake Event processfreetext [input]');
        }
        $data = $this->jobs()->fetchDataFile($this->args[0]);
        DataJob::arrived($data, (int)$data['id'], (int)$data['jobId']);
    }

    /** processmoduleresult DATA */
    public function processmoduleresult(): void
    {
        $this->processfreetext();
    }

    /** publish_sightings EVENT_ID PASS_ALONG JOB_ID USER_ID [DATA], where the data say which sightings */
    public function publish_sightings(): void
    {
        if (!isset($this->args[3])) {
            $this->usage('MISP/app/Console/cake Event publish_sightings [event_id] [pass_along] [job_id] [user_id]');
        }
        list($event, , $row) = $this->args;
        $data = isset($this->args[4]) ? $this->jobs()->fetchDataFile($this->args[4]) : array();
        DataJob::arrived($data, (int)$event, (int)$row);
    }
}
