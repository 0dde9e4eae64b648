// Moves every waiting job of the new backend to the old one's lists. Comes behind misp.php; runs as
// the web user. Input on standard input: {"root", "desired"}. Prints how many were moved.
//
// Exactly once, also when it is cut off and run again: the old job's id follows from the new one's,
// a mark beside the old list says that it was put there, and only then is the new record removed.
const SHELLS = array("event" => "EventShell", "server" => "ServerShell", "admin" => "AdminShell", "workflow" => "WorkflowShell");
const MARK_SECONDS = 604800;

function put_into_old_list($redis, $prefix, $queue, $job)
{
    $id = md5($job["id"]);
    $old = array("class" => SHELLS[$job["command"]], "args" => array($job["args"]), "id" => $id);
    // One transaction: the mark is there if and only if the job is.
    $script = 'if redis.call("SET", KEYS[1], "1", "NX", "EX", ARGV[3]) then'
        . ' redis.call("SADD", KEYS[2], ARGV[1]) redis.call("RPUSH", KEYS[3], ARGV[2]) return 1 end return 0';
    $redis->eval($script, array("{$prefix}misp-workers-moved:$id", "{$prefix}queues", "{$prefix}queue:$queue",
        $queue, json_encode($old), MARK_SECONDS), 3);
    if ($redis->getLastError() !== null) {
        throw new Exception($redis->getLastError());
    }
}

$in = json_decode(stream_get_contents(STDIN), true);
$config = settings($in);
$wanted = wanted_redis($in, block_of($config, "SimpleBackgroundJobs"), block_of($config, "MISP"));
$new = connect($wanted["redis_host"], $wanted["redis_port"], $wanted["redis_password"], $wanted["redis_database"]);
$at = legacy_redis($in["root"]);
$old = connect($at["host"], $at["port"], $at["password"], $at["database"]);
$moved = 0;
foreach (QUEUES as $queue) {
    $list = $wanted["redis_namespace"] . ":" . $queue;
    foreach ($new->lRange($list, 0, -1) as $record) {
        $job = json_decode($record, true);
        if (!isset($job["id"], $job["command"], SHELLS[$job["command"]])) {
            fwrite(STDERR, "a record in $list is no job: " . substr($record, 0, 200) . "\n");
            exit(1);
        }
        put_into_old_list($old, $at["namespace"] . ":", $queue, $job);
        $new->lRem($list, $record, 1);
        $new->del($wanted["redis_namespace"] . ":job_status:" . $job["id"]);
        $moved++;
    }
}
echo "$moved moved\n";
