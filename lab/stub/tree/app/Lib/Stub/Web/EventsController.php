<?php
declare(strict_types=1);

final class EventsController extends AppController
{
    const ACTIONS = array('publish' => 'POST');

    /** A job in the queue prio, of the backend that *this process* has in its configuration. */
    public function publish(string $id = ''): array
    {
        if (!ctype_digit($id)) {
            throw new HttpError('Invalid event.', 404);
        }
        $row = JobTable::create('prio', 'publish_event', "Event ID: $id", 'Publishing.');
        $this->tool()->enqueue('prio', 'event', array('publish', $id, null, $row, '1'), $row);
        return $this->saved('Job queued', "/events/publish/$id", $id);
    }
}
