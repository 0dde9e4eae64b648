<?php
declare(strict_types=1);

/** Arguments of a numbered job (StubJob), from options of the enqueue tool or fields of a request. */
final class NumberedJob
{
    const VALUED = array('sleep', 'spawn');
    const FLAGS = array('fail', 'binary', 'stderr', 'echo');

    public static function arguments(array $params, int $number): array
    {
        $args = array('stubJob', (string)$number);
        if (isset($params['note'])) {
            $args[] = (string)$params['note'];
        }
        foreach (self::VALUED as $name) {
            if (isset($params[$name])) {
                array_push($args, "--$name", (string)$params[$name]);
            }
        }
        foreach (self::FLAGS as $name) {
            if (!empty($params[$name])) {
                $args[] = "--$name";
            }
        }
        return $args;
    }
}
