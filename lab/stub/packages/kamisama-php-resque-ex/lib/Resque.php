<?php

/** Queues of the old backend. Keys are prefixed with the namespace; values are plain JSON. */
class Resque
{
    const DELAYED = '_schdlr_';

    private static ?Redis $redis = null;

    /** From the environment in a worker, from the plugin's own config file elsewhere. */
    public static function redis(): Redis
    {
        if (self::$redis === null) {
            self::$redis = getenv('REDIS_BACKEND') !== false && getenv('QUEUE') !== false
                ? self::connect(...self::fromEnvironment()) : self::connect(...self::fromConfig());
        }
        return self::$redis;
    }

    /** A fork must not share its parent's connection. */
    public static function forget(): void
    {
        self::$redis = null;
    }

    private static function fromEnvironment(): array
    {
        list($host, $port) = explode(':', (string)getenv('REDIS_BACKEND'), 2);
        return array($host, (int)$port, (int)getenv('REDIS_DATABASE'), (string)getenv('REDIS_NAMESPACE'),
            (string)getenv('REDIS_PASSWORD'));
    }

    private static function fromConfig(): array
    {
        $settings = Configure::read('CakeResque.Redis');
        return array($settings['host'], (int)$settings['port'], (int)$settings['database'], $settings['namespace'],
            (string)($settings['password'] ?? ''));
    }

    private static function connect(string $host, int $port, int $database, string $namespace, string $password): Redis
    {
        $redis = new Redis();
        $redis->connect($host, $port);
        $redis->setOption(Redis::OPT_PREFIX, $namespace . ':');
        if ($password !== '') {
            $redis->auth($password);
        }
        $redis->select($database);
        return $redis;
    }

    public static function enqueue(string $queue, string $class, array $args, bool $track, ?string $id = null): string
    {
        $id = $id ?? md5(uniqid('', true));
        self::redis()->sAdd('queues', $queue);
        self::redis()->rPush("queue:$queue", json_encode(array('class' => $class, 'args' => array($args), 'id' => $id)));
        if ($track) {
            self::setStatus($id, 1);
        }
        return $id;
    }

    /** A delayed job: its list is found by the time it is due, and the times are in a sorted set. */
    public static function enqueueAt(int $time, string $queue, string $class, array $args, bool $track): string
    {
        $args['id'] = md5(uniqid('', true));
        $args['s_time'] = time();
        self::redis()->rPush(self::DELAYED . ":$time", json_encode(array('class' => $class, 'args' => array($args),
            'queue' => $queue, 'track' => $track)));
        self::redis()->zAdd(self::DELAYED, $time, (string)$time);
        return $args['id'];
    }

    public static function pop(string $queue): ?array
    {
        $item = self::redis()->lPop("queue:$queue");
        return $item === false || $item === null ? null : json_decode($item, true);
    }

    public static function size(string $queue): int
    {
        return (int)self::redis()->lLen("queue:$queue");
    }

    /** 1 waiting, 2 running, 3 failed, 4 complete; the last two are kept for a day. */
    public static function setStatus(string $id, int $status): void
    {
        $key = "job:$id:status";
        $old = json_decode((string)self::redis()->get($key), true);
        self::redis()->set($key, json_encode(array('status' => $status, 'updated' => time(),
            'started' => $old['started'] ?? time())));
        if ($status > 2) {
            self::redis()->expire($key, 86400);
        }
    }

    public static function count(string $what): void
    {
        self::redis()->incr("stat:$what");
    }

    public static function stat(string $what): int
    {
        return (int)self::redis()->get("stat:$what");
    }

    /** @return string[] host:pid:queue of every worker that has not taken itself out */
    public static function workers(): array
    {
        $workers = self::redis()->sMembers('workers');
        sort($workers);
        return $workers;
    }
}
