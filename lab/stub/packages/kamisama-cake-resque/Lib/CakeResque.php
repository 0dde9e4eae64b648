<?php

/** The plugin's face to the application. */
class CakeResque
{
    public static function enqueue(string $queue, string $class, array $args, bool $track = false): string
    {
        return Resque::enqueue($queue, $class, $args, $track);
    }

    public static function enqueueAt(int $time, string $queue, string $class, array $args, bool $track = false): string
    {
        return Resque::enqueueAt($time, $queue, $class, $args, $track);
    }
}
