// Makes every job of the old backend one of the new, but for MISP's scheduled tasks, which the old
// scheduler would only call again and again. Comes behind jobs.php and jobs_table.php; runs as the web user. Input on
// standard input: a line {"root", "desired", "redis_place"}, and then what list_old_jobs.php printed: a job that is
// not in that copy stays where it is. Prints how many were converted.
//
// Old workers may take jobs meanwhile. So a job leaves its list for a list of held ones first, which
// no worker knows, and only who took it out of its list has it.

function is_to_convert($list, $record)
{
    return strpos($list, "queue:") === 0 || !is_scheduled_task($record);
}

function hold($redis, $prefix, $list, $record) // false: a worker or the old scheduler was faster
{
    $script = 'if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end'
        . ' if redis.call("LLEN", KEYS[1]) == 0 then redis.call("ZREM", KEYS[3], ARGV[3]) end'
        . ' redis.call("RPUSH", KEYS[2], ARGV[2]) return 1';
    $held = json_encode(array("list" => $list, "record" => $record, "id" => uuid4()));
    $keys = array($prefix . $list, $prefix . HELD, "{$prefix}_schdlr_");
    return atomically($redis, $script, $keys, array($record, $held, delayed_until($list))) === 1;
}

function put_into_new_list($redis, $prefix, $ttl, $job) // in MISP's wire format (BackgroundJobsTool.php)
{
    $record = array("id" => $job["id"], "command" => $job["command"], "args" => $job["args"], "createdAt" => time(),
        "updatedAt" => null, "status" => 1, "output" => null, "error" => null, "metadata" => array());
    $script = 'if redis.call("SET", KEYS[1], "1", "NX", "EX", ARGV[3]) then'
        . ' redis.call("SETEX", KEYS[2], ARGV[2], ARGV[1]) redis.call("RPUSH", KEYS[3], ARGV[1]) return 1 end return 0';
    $keys = array($prefix . MOVED . $job["id"], "{$prefix}job_status:{$job['id']}", $prefix . $job["queue"]);
    atomically($redis, $script, $keys, array(json_encode($record), $ttl, MARK_SECONDS));
}

$in = json_decode(fgets(STDIN), true);
$copy = json_decode(stream_get_contents(STDIN), true);
if (!isset($copy["lists"])) {
    stop("the copy of the old backend's lists cannot be read");
}
list($old, $old_prefix) = old_backend($in);
list($new, $new_prefix, $at) = new_backend($in);
$unfit = array();
foreach ($copy["lists"] as $list => $records) {
    foreach ($records as $record) {
        if (is_to_convert($list, $record) && as_new_job($list, $record) === null) {
            $unfit[] = "$list: " . substr($record, 0, 200);
        }
    }
}
if ($unfit !== array()) { // before the first is taken
    stop(count($unfit) . " record(s) of the old backend are no job of MISP's, so none was converted, the first is in " . $unfit[0]);
}
foreach ($copy["lists"] as $list => $records) {
    foreach ($records as $record) {
        if (is_to_convert($list, $record)) {
            hold($old, $old_prefix, $list, $record);
        }
    }
}
$held = array();
foreach ($old->lRange($old_prefix . HELD, 0, -1) as $entry) {
    $from = json_decode($entry, true);
    $held[$entry] = array("id" => $from["id"]) + as_new_job($from["list"], $from["record"]);
}
if ($held !== array()) {
    rename_jobs($in["root"], array_column($held, "id", "old_id"));
}
foreach ($held as $entry => $job) {
    put_into_new_list($new, $new_prefix, $at["max_job_history_ttl"], $job);
    $old->del("{$old_prefix}job:{$job['old_id']}:status");
    $old->lRem($old_prefix . HELD, $entry, 1);
}
echo count($held) . " job(s) of the old backend became jobs of the new one\n";
