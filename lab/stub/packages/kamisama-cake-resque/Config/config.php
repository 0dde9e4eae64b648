<?php
// As MISP's INSTALL/setup/config.php leaves it: database 0, namespace resque, no password. Independent of both
// MISP.redis_* and SimpleBackgroundJobs.redis_*.
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
    ),
    'Resque' => array(
        'lib' => 'kamisama/php-resque-ex',
    ),
    'Scheduler' => array(
        'enabled' => true,
        'lib' => 'kamisama/php-resque-ex-scheduler',
    ),
);
