<?php
declare(strict_types=1);

/**
 * The stub's book of jobs, so that a test can count jobs lost and jobs run twice. The worker notes a job as in flight
 * before it starts the job's process; that process writes the one ledger line when it ends. A job that was killed has
 * no line, and its note stays in inflight/.
 */
final class Ledger
{
    private static ?array $current = null;
    private static int $exit = 255;

    /** By the worker, of either backend. */
    public static function handOver(string $id, string $backend, string $queue, string $command, array $args): void
    {
        $note = array('id' => $id, 'backend' => $backend, 'queue' => $queue, 'command' => $command, 'args' => $args,
            'worker_pid' => getmypid(), 'taken' => microtime(true));
        @mkdir(StubState::path('inflight'), 0750, true);
        file_put_contents(self::note($id), json_encode($note, JSON_INVALID_UTF8_SUBSTITUTE));
    }

    /** By the process that does the job. */
    public static function begin(string $id): void
    {
        $note = is_file(self::note($id)) ? json_decode((string)file_get_contents(self::note($id)), true) : array();
        self::$current = array(
            'id' => $id,
            'backend' => $note['backend'] ?? 'simple',
            'queue' => $note['queue'] ?? null,
            'command' => $note['command'] ?? null,
            'args' => $note['args'] ?? array(),
        );
        $args = self::$current['args'];
        if (($args[0] ?? null) === 'stubJob' && isset($args[1])) {
            self::$current['number'] = (int)$args[1];
        }
        self::$current += array('pid' => getmypid(), 'started' => microtime(true));
        register_shutdown_function(array(self::class, 'end'));
    }

    /** What else the job's line is to say. */
    public static function add(array $fields): void
    {
        if (self::$current !== null) {
            self::$current = array_merge(self::$current, $fields);
        }
    }

    public static function setExit(int $exit): void
    {
        self::$exit = $exit;
    }

    public static function currentQueue(): ?string
    {
        return self::$current['queue'] ?? null;
    }

    public static function end(): void
    {
        // An orphan that echoes into its dead worker's pipe is aborted by PHP, silently: that job did not end.
        if (self::$current === null || connection_aborted()) {
            return;
        }
        $line = self::$current + array('ended' => microtime(true), 'exit' => self::$exit);
        self::$current = null;
        StubState::appendLine('ledger.jsonl', $line);
        @unlink(self::note($line['id']));
    }

    private static function note(string $id): string
    {
        return StubState::path('inflight/' . preg_replace('/[^A-Za-z0-9-]/', '_', $id));
    }
}
