<?php
declare(strict_types=1);

/** CakeLog on the console: info to stdout and debug.log, errors to stderr and error.log. */
final class Log
{
    public static bool $console = false;

    public static function info(string $message): void
    {
        self::write('Info', $message, 'debug.log', 'php://stdout');
    }

    public static function error(string $message): void
    {
        self::write('Error', $message, 'error.log', 'php://stderr');
    }

    private static function write(string $level, string $message, string $file, string $stream): void
    {
        $line = date('Y-m-d H:i:s') . " $level: $message\n";
        if (self::$console) {
            file_put_contents($stream, $line);
        }
        // A log file that a root-run command created first is not writable later: PHP warns, the work goes on.
        file_put_contents(APP . 'tmp/logs/' . $file, $line, FILE_APPEND);
    }
}
