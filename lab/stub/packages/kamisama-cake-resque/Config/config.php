<?php
// As MISP's INSTALL/setup/config.php leaves it: database 0, namespace resque, no password. Independent of both
// MISP.redis_* and SimpleBackgroundJobs.redis_*. It leans on CakePHP's constants and its class App, as MISP's does.
$config['CakeResque'] = array(
    'Redis' => array(
        'host' => '127.0.0.1',
        'port' => 6379,
        'database' => 0,
        'namespace' => 'resque',
        'password' => null,
    ),
    'Worker' => array(
        'queue' => 'default',
        'interval' => 5,
        'workers' => 1,
        'log' => TMP . 'logs' . DS . 'resque-worker-error.log',
    ),
    'Resque' => array(
        'tmpdir' => App::pluginPath('CakeResque') . 'tmp' . DS,
        'lib' => 'kamisama/php-resque-ex',
    ),
    'Scheduler' => array(
        'enabled' => true,
        'log' => TMP . 'logs' . DS . 'resque-scheduler-error.log',
        'lib' => 'kamisama/php-resque-ex-scheduler',
    ),
);
