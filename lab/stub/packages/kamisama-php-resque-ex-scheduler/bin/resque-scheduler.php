#!/usr/bin/env php
<?php
require getenv('APP_INCLUDE');

file_put_contents(getenv('PIDFILE'), getmypid());
// Since 2.5.0 Composer brings a monolog with which the scheduler dies at once, and start.sh still exits 0.
if (StubState::get('legacy_scheduler', Version::atLeast('2.5.0') ? 'dies' : 'works') === 'dies') {
    // It lives just long enough to be registered, so a stale pid stays behind.
    sleep(1);
    fwrite(STDERR, "PHP Fatal error:  Uncaught Error: Call to undefined method Monolog\\Logger::addInfo()\n");
    exit(255);
}
require dirname(__DIR__) . '/lib/SchedulerWorker.php';
$interval = StubState::get('old_worker_interval', (int)getenv('INTERVAL'));
(new ResqueScheduler_Worker((int)$interval))->work();
