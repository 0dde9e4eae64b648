<?php

/** What the web page believes about the old workers: as true as these keys, also after a reboot. */
class ResqueStatus
{
    public static function addWorker(int $pid, array $args): void
    {
        Resque::redis()->hSet('ResqueWorker', (string)$pid, serialize($args));
    }

    public static function removeWorker(int $pid): void
    {
        Resque::redis()->hDel('ResqueWorker', (string)$pid);
    }

    /** @return array[] by pid */
    public static function workers(): array
    {
        $workers = array();
        foreach (Resque::redis()->hGetAll('ResqueWorker') as $pid => $args) {
            $workers[$pid] = unserialize($args, array('allowed_classes' => false));
        }
        return $workers;
    }

    public static function setPaused(string $worker, bool $paused): void
    {
        $paused ? Resque::redis()->sAdd('PausedWorker', $worker) : Resque::redis()->sRem('PausedWorker', $worker);
    }

    /** @return string[] */
    public static function paused(): array
    {
        return Resque::redis()->sMembers('PausedWorker');
    }

    public static function registerScheduler(int $pid): void
    {
        Resque::redis()->set('ResqueSchedulerWorker', (string)$pid);
    }

    public static function unregisterScheduler(): void
    {
        Resque::redis()->del('ResqueSchedulerWorker');
    }

    public static function isScheduler(string $worker): bool
    {
        return substr($worker, -strlen(Resque::DELAYED) - 1) === ':' . Resque::DELAYED;
    }

    /** Among the registered workers whose process lives. */
    public static function schedulerRuns(): bool
    {
        foreach (Resque::workers() as $worker) {
            if (self::isScheduler($worker) && posix_kill((int)explode(':', $worker)[1], 0)) {
                return true;
            }
        }
        return false;
    }
}
