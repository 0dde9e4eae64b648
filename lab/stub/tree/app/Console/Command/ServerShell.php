<?php
declare(strict_types=1);

/** Synchronisation and feeds. One remote server, and user number 1 only. */
class ServerShell extends AppShell
{
    const REMOTE = 'stub-remote';

    protected function subcommands(): array
    {
        $names = array('pull', 'pullAll', 'push', 'pushAll', 'fetchFeed', 'cacheFeed', 'cacheServer', 'cacheServerAll',
            'sendPeriodicSummaryToUsers', 'enqueuePull', 'enqueuePush', 'enqueueFeedFetch', 'enqueueFeedCache');
        return array_fill_keys($names, array());
    }

    public function pull(): void
    {
        $this->foreground('pull', '[user_id] [server_id] [full|update]', 2, 'Pull completed.');
    }

    public function push(): void
    {
        $this->foreground('push', '[user_id] [server_id] [full]', 2, 'Push complete.');
    }

    public function fetchFeed(): void
    {
        $this->foreground('fetchFeed', '[user_id] [feed_id|all|csv|text|misp]', 2, 'Job done.');
        TaskTable::note('fetch_feeds');
    }

    public function cacheFeed(): void
    {
        $this->foreground('cacheFeed', '[user_id] [feed_id|all|csv|text|misp]', 2, 'Job done. Feeds cached.');
        TaskTable::note('cache_feeds');
    }

    public function cacheServer(): void
    {
        $this->foreground('cacheServer', '[user_id] [server_id|all]', 2, 'Job done.');
    }

    public function sendPeriodicSummaryToUsers(): void
    {
        $this->out('All done. 0 emails sent.');
    }

    public function pullAll(): void
    {
        $this->enqueueForAll('pullAll', 'pull', 'pulling from');
        TaskTable::note('pull_all');
    }

    public function pushAll(): void
    {
        $this->enqueueForAll('pushAll', 'push', 'pushing to');
        TaskTable::note('push_all');
    }

    public function cacheServerAll(): void
    {
        $this->enqueueForAll('cacheServerAll', 'cacheServer', 'caching of');
    }

    /** enqueuePull TIME USER_ID TASK_ID: a scheduled task, by the old backend. */
    public function enqueuePull(): void
    {
        $this->scheduled('enqueuePull', 'pull_all', (int)$this->args[1], (int)$this->args[2]);
    }

    /** enqueuePush TIME TASK_ID USER_ID; what it enqueues has them exchanged, in MISP too. */
    public function enqueuePush(): void
    {
        $this->scheduled('enqueuePush', 'push_all', (int)$this->args[2], (int)$this->args[1]);
    }

    public function enqueueFeedFetch(): void
    {
        $this->scheduled('enqueueFeedFetch', 'fetch_feeds', (int)$this->args[1], (int)$this->args[2]);
    }

    public function enqueueFeedCache(): void
    {
        $this->scheduled('enqueueFeedCache', 'cache_feeds', (int)$this->args[1], (int)$this->args[2]);
    }

    private function scheduled(string $action, string $type, int $user, int $id): void
    {
        if (TaskTable::begin((int)$this->args[0], $id, $action, $user)) {
            TaskTable::note($type);
        }
    }

    /** With missing arguments MISP prints its usage and exits 0. */
    private function needs(string $name, string $usage, int $count): void
    {
        if (count($this->args) < $count) {
            $this->usage("MISP/app/Console/cake Server $name $usage");
        }
        if (!ctype_digit($this->args[0]) || (int)$this->args[0] !== 1) {
            $this->error('User ID do not match an existing user.');
        }
    }

    private function foreground(string $name, string $usage, int $count, string $done): void
    {
        $this->needs($name, $usage, $count);
        $row = (int)($this->args[2] ?? 0);
        if ($row > 0) {
            JobTable::change($row, array('status' => '4', 'progress' => '100', 'message' => $done));
        }
        $this->out($done);
    }

    private function enqueueForAll(string $name, string $command, string $verb): void
    {
        $this->needs($name, '[user_id] [full|update]', 1);
        $row = JobTable::create('default', $command, 'Server: 1', ucfirst($verb) . ' server.');
        $id = $this->jobs()->enqueue('default', 'server', array($command, $this->args[0], '1', (string)$row), $row);
        $this->out("Enqueued $verb " . self::REMOTE . " server as job $id");
    }
}
