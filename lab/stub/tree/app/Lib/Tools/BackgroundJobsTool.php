<?php
declare(strict_types=1);

/** Enqueue, dequeue and status of jobs. Settings come as they are stored: no defaults, no casts, strict types. */
class BackgroundJobsTool
{
    const QUEUES = array('default', 'email', 'cache', 'prio', 'update', 'scheduler');
    const COMMANDS = array('event', 'server', 'admin', 'workflow');
    const LEGACY_CLASSES = array('event' => 'EventShell', 'server' => 'ServerShell', 'admin' => 'AdminShell',
        'workflow' => 'WorkflowShell');

    private array $settings;
    private ?Redis $redis = null;
    private ?SupervisorClient $supervisor = null;

    public function __construct(array $settings)
    {
        $this->settings = $settings;
        // Strictly true: with the integer 1 there is no connection, and the first use of it is an Error on null.
        if (($settings['enabled'] ?? null) === true) {
            $this->redis = $this->connect();
        }
    }

    /** The whole block for web and models; on the command line a falsy `enabled` leaves nothing but that. */
    public static function forCli(): self
    {
        $settings = Configure::read('SimpleBackgroundJobs');
        return new self(empty($settings['enabled']) ? array('enabled' => false) : $settings);
    }

    public static function forWeb(): self
    {
        return new self(Configure::read('SimpleBackgroundJobs') ?? array('enabled' => false));
    }

    public function enabled(): bool
    {
        return !empty($this->settings['enabled']);
    }

    /**
     * RPUSH and SETEX in a pipeline without MULTI: a worker can pop the job before its status key exists.
     * @param int|null $row id of the row in the jobs table
     */
    public function enqueue(string $queue, string $command, array $args, ?int $row = null): string
    {
        if (!$this->enabled()) {
            return $this->enqueueLegacy($queue, $command, $args, $row);
        }
        $this->validate($queue, $command);
        $job = new BackgroundJob(array('id' => self::uuid(), 'command' => $command, 'args' => $args,
            'createdAt' => time()));
        $this->redis->pipeline();
        $this->redis->rPush($queue, $job);
        $job->touch(BackgroundJob::STATUS_WAITING);
        $this->redis->setex('job_status:' . $job->id(), $this->settings['max_job_history_ttl'], $job);
        $this->redis->exec();
        if ($row !== null) {
            JobTable::change($row, array('process_id' => $job->id()));
        }
        return $job->id();
    }

    /**
     * Job input that is too big for an argument. In Redis it goes through the connection's serializer and prefix, so
     * with igbinary it is no JSON; before 2.4.165, and on the old backend, it is a file.
     * @return string the job's argument: `redis:UUID`, or the file
     */
    public function enqueueDataFile(array $data): string
    {
        if (!Version::atLeast('2.4.165')) {
            return basename(DataFile::write($data));
        }
        if (!$this->enabled()) {
            return DataFile::write($data);
        }
        $uuid = self::uuid();
        $this->redis->setex("data_content:$uuid", 86400, $data);
        return "redis:$uuid";
    }

    /** Reads once: key and file are gone afterwards. Without `enabled` there is no connection: an Error on null. */
    public function fetchDataFile(string $argument): array
    {
        if (!Version::atLeast('2.4.165') || strncmp($argument, 'redis:', 6) !== 0) {
            return DataFile::readAndDelete($argument);
        }
        $uuid = substr($argument, 6);
        $data = $this->redis->get("data_content:$uuid");
        if ($data === false) {
            throw new Exception("Redis data key with UUID $uuid doesn't exists.");
        }
        $this->redis->unlink("data_content:$uuid");
        return $data;
    }

    private function enqueueLegacy(string $queue, string $command, array $args, ?int $row): string
    {
        $id = CakeResque::enqueue($queue, self::LEGACY_CLASSES[$command], $args, true);
        if ($row !== null) {
            JobTable::change($row, array('process_id' => $id));
        }
        return $id;
    }

    /** The command is checked here and not again on dequeue. */
    private function validate(string $queue, string $command): void
    {
        if (!in_array($queue, self::QUEUES, true)) {
            throw new InvalidArgumentException("Invalid background job queue $queue, must be one of: ["
                . implode(', ', self::QUEUES) . '].');
        }
        if (!in_array($command, self::COMMANDS, true)) {
            throw new InvalidArgumentException("Invalid command $command, must be one of: ["
                . implode(', ', self::COMMANDS) . '].');
        }
    }

    public function dequeue(string $queue, int $timeout = 30): ?BackgroundJob
    {
        $popped = $this->redis->blpop($queue, $timeout);
        if (empty($popped)) {
            return null;
        }
        return $popped[1] instanceof BackgroundJob ? $popped[1] : new BackgroundJob($popped[1]);
    }

    public function update(BackgroundJob $job): void
    {
        $this->redis->setex('job_status:' . $job->id(), $this->settings['max_job_history_ttl'], $job);
    }

    /** Since 2.4.184: a key that lives 60 s and is renewed while the job runs. */
    public function markAsRunning(string $queue, string $id, int $pid): void
    {
        if (Version::atLeast('2.4.184')) {
            $this->redis->setex("running:$queue:$id", 60, array('worker_pid' => getmypid(), 'process_pid' => $pid));
        }
    }

    public function removeFromRunning(string $queue, string $id): void
    {
        if (Version::atLeast('2.4.184')) {
            $this->redis->del("running:$queue:$id");
        }
    }

    /** @return array[] by job id */
    public function running(string $queue): array
    {
        $prefix = ($this->settings['redis_namespace'] ?? '') . ':';
        $jobs = array();
        foreach ($this->redis->keys("running:$queue:*") as $key) {
            $key = substr($key, strlen($prefix));
            $jobs[substr($key, strlen("running:$queue:"))] = $this->redis->get($key);
        }
        return $jobs;
    }

    public function job(string $id): ?BackgroundJob
    {
        $record = $this->redis->get("job_status:$id");
        if ($record === false) {
            return null;
        }
        return $record instanceof BackgroundJob ? $record : new BackgroundJob($record);
    }

    public function size(string $queue): int
    {
        return $this->redis === null ? 0 : (int)$this->redis->lLen($queue);
    }

    public function clear(string $queue): int
    {
        $size = $this->size($queue);
        $this->redis->del($queue);
        return $size;
    }

    public function supervisor(): SupervisorClient
    {
        if ($this->supervisor === null) {
            $this->supervisor = new SupervisorClient($this->settings);
        }
        return $this->supervisor;
    }

    private function connect(): Redis
    {
        foreach (array('redis_host', 'redis_port') as $key) {
            if (!isset($this->settings[$key])) {
                throw new RuntimeException("Required option `$key` for BackgroundJobsTool is not set.");
            }
        }
        $redis = new Redis();
        $redis->connect($this->settings['redis_host'], $this->settings['redis_port']);
        $igbinary = ($this->settings['redis_serializer'] ?? 'JSON') === 'igbinary';
        $redis->setOption(Redis::OPT_SERIALIZER, $igbinary ? Redis::SERIALIZER_IGBINARY : Redis::SERIALIZER_JSON);
        // A missing namespace silently is another key space: the prefix is then a bare colon.
        $redis->setOption(Redis::OPT_PREFIX, ($this->settings['redis_namespace'] ?? '') . ':');
        if (isset($this->settings['redis_read_timeout'])) {
            $redis->setOption(Redis::OPT_READ_TIMEOUT, $this->settings['redis_read_timeout']);
        }
        $this->authenticate($redis);
        $redis->select($this->settings['redis_database']);
        return $redis;
    }

    /** A missing key is a PHP warning only; AUTH is the password form, without a user name. */
    private function authenticate(Redis $redis): void
    {
        $password = $this->settings['redis_password'];
        if (!empty($password)) {
            $redis->auth($password);
        }
    }

    public static function uuid(): string
    {
        $hex = bin2hex(random_bytes(16));
        $hex[12] = '4';
        $hex[16] = dechex((hexdec($hex[16]) & 3) | 8);
        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split($hex, 4));
    }
}
