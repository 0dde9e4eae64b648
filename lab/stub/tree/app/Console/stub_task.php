<?php
// Not in MISP: switches a scheduled task on, as MISP's page does it.
// php stub_task.php TYPE HOURS TIME USER_ID        TIME in seconds since 1970; before 2.5.18
require dirname(__DIR__) . '/Lib/Stub/bootstrap.php';

const ACTIONS = array('pull_all' => 'enqueuePull', 'push_all' => 'enqueuePush', 'cache_feeds' => 'enqueueFeedCache',
    'fetch_feeds' => 'enqueueFeedFetch');

Configure::load();
require APP . 'Config/bootstrap.php';
list(, $type, $hours, $time, $user) = $argv;
TaskTable::run('UPDATE tasks SET timer = ? WHERE type = ?', (int)$hours, $type);
$id = (int)TaskTable::run('SELECT id FROM tasks WHERE type = ?', $type)[0]['id'];
$numbers = $type === 'push_all' ? array($id, (int)$user) : array((int)$user, $id);
TaskTable::enqueue((int)$time, $id, array_merge(array(ACTIONS[$type], (int)$time), $numbers));
