<?php
declare(strict_types=1);

/** Jobs on events. */
class EventShell extends AppShell
{
    protected function subcommands(): array
    {
        return array('publish' => array(), 'enqueueCaching' => array(), 'cache' => array(), 'contactemail' => array());
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
}
