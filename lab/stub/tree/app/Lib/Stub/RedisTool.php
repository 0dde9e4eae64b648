<?php
declare(strict_types=1);

/** MISP's own Redis (MISP.redis_*): not that of the new backend, and not CakeResque's either. */
final class RedisTool
{
    public static function connect(): Redis
    {
        $redis = new Redis();
        $redis->connect((string)(Configure::read('MISP.redis_host') ?: '127.0.0.1'),
            (int)(Configure::read('MISP.redis_port') ?: 6379));
        $password = Configure::read('MISP.redis_password');
        if (!empty($password)) {
            $redis->auth($password);
        }
        $redis->select((int)(Configure::read('MISP.redis_database') ?? 13));
        return $redis;
    }
}
