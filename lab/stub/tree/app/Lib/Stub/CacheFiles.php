<?php
declare(strict_types=1);

/**
 * Cake keeps cache files that whoever runs it first owns. After a call as root with cold caches the web user cannot
 * write them: its calls print warnings, and jobs do their work but end non-zero, so they are shown as Failed.
 */
final class CacheFiles
{
    const FILES = array('persistent/myapp_cake_core_cake_console_', 'models/myapp_cake_model_default_misp_list');

    public static bool $spoilt = false;

    public static function touch(): void
    {
        foreach (self::FILES as $name) {
            $file = APP . 'tmp/cache/' . $name;
            if (!is_file($file)) {
                @file_put_contents($file, "stub\n");
                @chmod($file, 0664);
            } elseif (!is_writable($file)) {
                self::$spoilt = true;
                fwrite(STDERR, "Warning Error: file_put_contents($file): Failed to open stream: Permission denied\n");
            }
        }
    }
}
