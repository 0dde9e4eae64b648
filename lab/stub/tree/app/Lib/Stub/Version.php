<?php
declare(strict_types=1);

final class Version
{
    public static function current(): string
    {
        static $version = null;
        if ($version === null) {
            $parts = json_decode((string)file_get_contents(ROOT . '/VERSION.json'), true);
            $version = implode('.', array($parts['major'], $parts['minor'], $parts['hotfix']));
        }
        return $version;
    }

    public static function atLeast(string $version): bool
    {
        return version_compare(self::current(), $version, '>=');
    }
}
