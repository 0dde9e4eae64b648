<?php
declare(strict_types=1);

final class Plugins
{
    private static array $loaded = array();

    /** Every directory under app/Plugin is loaded, DebugKit too if Composer put development packages on the host. */
    public static function loadAll(): void
    {
        foreach (glob(APP . 'Plugin/*', GLOB_ONLYDIR) ?: array() as $directory) {
            self::$loaded[basename($directory)] = $directory;
        }
    }

    public static function require(string $name): void
    {
        if (!isset(self::$loaded[$name]) || !is_file(self::$loaded[$name] . '/Lib/CakeResque.php')) {
            throw new RuntimeException("Plugin $name could not be found.");
        }
        require_once self::$loaded[$name] . '/Lib/CakeResque.php';
    }

    public static function path(string $name): ?string
    {
        return self::$loaded[$name] ?? null;
    }
}
