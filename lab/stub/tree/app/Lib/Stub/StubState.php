<?php
declare(strict_types=1);

/** What belongs to the stub and not to MISP: /etc/misp-stub.json, and the directory that stands for the database. */
final class StubState
{
    const CONFIG = '/etc/misp-stub.json';

    private static ?array $config = null;

    /** @return mixed */
    public static function get(string $key, $default = null)
    {
        if (self::$config === null) {
            $text = is_readable(self::CONFIG) ? file_get_contents(self::CONFIG) : '{}';
            self::$config = json_decode((string)$text, true) ?: array();
        }
        return self::$config[$key] ?? $default;
    }

    public static function path(string $name): string
    {
        return self::get('state_dir', '/var/lib/misp-stub') . '/' . $name;
    }

    /** One line, whole or not at all, whoever else is writing. */
    public static function appendLine(string $name, array $record): void
    {
        $flags = JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;
        file_put_contents(self::path($name), json_encode($record, $flags) . "\n", FILE_APPEND | LOCK_EX);
    }

    public static function readJson(string $name): array
    {
        $file = self::path($name);
        return is_file($file) ? (json_decode((string)file_get_contents($file), true) ?: array()) : array();
    }

    public static function writeJson(string $name, array $data): void
    {
        $file = self::path($name);
        $temporary = $file . '.' . getmypid();
        file_put_contents($temporary, json_encode($data, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES));
        rename($temporary, $file);
    }
}
