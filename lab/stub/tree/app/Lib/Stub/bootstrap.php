<?php
// Shared start of every entry point: cake.php, the web front controller, the legacy worker and the enqueue tool.
if (!defined('APP')) {
    define('APP', dirname(__DIR__, 2) . '/');
}
if (!defined('ROOT')) {
    define('ROOT', dirname(rtrim(APP, '/')));
}
// CakePHP's own, for configuration files that use them.
defined('DS') || define('DS', '/');
defined('TMP') || define('TMP', APP . 'tmp/');
error_reporting(E_ALL & ~E_DEPRECATED);
ini_set('display_errors', PHP_SAPI === 'cli' ? 'stderr' : '0');
ini_set('log_errors', '0');

spl_autoload_register(static function (string $class): void {
    static $places = array('Lib/Stub', 'Lib/Stub/Web', 'Lib/Tools', 'Lib/Tools/BackgroundJobs', 'Console/Command');
    foreach ($places as $place) {
        $file = APP . $place . '/' . $class . '.php';
        if (is_file($file)) {
            require $file;
            return;
        }
    }
});

// MISP loads Composer's autoloader when it is there; a class that Composer did not install is an Error at its first use.
if (is_file(APP . 'Vendor/autoload.php')) {
    require_once APP . 'Vendor/autoload.php';
}
