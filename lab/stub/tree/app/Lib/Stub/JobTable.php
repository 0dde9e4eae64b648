<?php
declare(strict_types=1);

/** Stands for MISP's table `jobs`: JSON lines, where a later line of the same id changes fields of the earlier one. */
final class JobTable
{
    const FILE = 'jobs.jsonl';

    public static function create(string $worker, string $type, string $input, string $message): int
    {
        $id = self::nextId();
        StubState::appendLine(self::FILE, array(
            'id' => (string)$id, 'worker' => $worker, 'job_type' => $type, 'job_input' => $input, 'status' => '0',
            'retries' => '0', 'message' => $message, 'progress' => '0', 'org_id' => '1', 'process_id' => null,
            'date_created' => date('Y-m-d H:i:s'), 'date_modified' => date('Y-m-d H:i:s'),
        ));
        return $id;
    }

    public static function change(int $id, array $fields): void
    {
        $fields += array('date_modified' => date('Y-m-d H:i:s'));
        StubState::appendLine(self::FILE, array('id' => (string)$id) + $fields);
    }

    /** @return array[] newest first */
    public static function rows(): array
    {
        $rows = array();
        $file = StubState::path(self::FILE);
        foreach (is_file($file) ? file($file) : array() as $line) {
            $fields = json_decode($line, true);
            $rows[$fields['id']] = array_merge($rows[$fields['id']] ?? array(), $fields);
        }
        return array_reverse(array_values($rows));
    }

    private static function nextId(): int
    {
        $handle = fopen(StubState::path('jobs.seq'), 'c+');
        flock($handle, LOCK_EX);
        $id = (int)stream_get_contents($handle) + 1;
        ftruncate($handle, 0);
        rewind($handle);
        fwrite($handle, (string)$id);
        fclose($handle);
        return $id;
    }
}
