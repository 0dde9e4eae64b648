<?php
declare(strict_types=1);

/** MISP's table `tasks`, where a host has a database (install-database.sh), and a book of what ran of them. */
final class TaskTable
{
    const BOOK = 'tasks.jsonl';

    private static ?PDO $database = null;

    public static function database(): PDO
    {
        if (self::$database === null) {
            require_once APP . 'Config/database.php';
            $at = (new DATABASE_CONFIG())->default;
            $options = array(PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC);
            self::$database = new PDO("mysql:host={$at['host']};port={$at['port']};dbname={$at['database']}",
                $at['login'], $at['password'], $options);
        }
        return self::$database;
    }

    /** @return mixed the rows, or how many were changed */
    public static function run(string $sql, ...$values)
    {
        $done = self::database()->prepare($sql);
        $done->execute($values);
        return $done->columnCount() ? $done->fetchAll() : $done->rowCount();
    }

    /** What a task does would cost real time; that it ran is all that a test wants to know. */
    public static function note(string $type): void
    {
        StubState::appendLine(self::BOOK, array('type' => $type, 'at' => microtime(true)));
    }

    /** MISP ignores a job whose time is not its row's (ServerShell), and enqueues the next one before it begins. */
    public static function begin(int $time, int $id, string $action, int $user): bool
    {
        $rows = self::run('SELECT * FROM tasks WHERE id = ?', $id);
        if ($rows === array() || (int)$rows[0]['next_execution_time'] !== $time) {
            return false;
        }
        $timer = (int)$rows[0]['timer'];
        if ($timer > 0) {
            $next = $time;
            while ($next < time()) {
                $next += $timer * 3600;
            }
            self::enqueue($next, $id, array($action, $next, $user, $id));
        }
        return true;
    }

    /** As MISP's page and Task::reQueue: a delayed job, whose time is the row's. */
    public static function enqueue(int $time, int $id, array $args): void
    {
        $process = CakeResque::enqueueAt($time, 'default', 'ServerShell', $args, true);
        self::run('UPDATE tasks SET next_execution_time = ?, scheduled_time = ?, process_id = ? WHERE id = ?',
            $time, date('H:i', $time), $process, $id);
    }
}
