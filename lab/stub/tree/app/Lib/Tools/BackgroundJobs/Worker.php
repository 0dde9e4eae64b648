<?php
declare(strict_types=1);

/** A worker as supervisord's process list shows it: there is no other register of workers. */
final class Worker
{
    public int $pid;
    public string $queue;
    public string $user;

    public function __construct(int $pid, string $queue, string $user)
    {
        $this->pid = $pid;
        $this->queue = $queue;
        $this->user = $user;
    }
}
