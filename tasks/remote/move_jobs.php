// Moves every waiting job of the new backend to the old one's lists. Comes behind jobs.php; runs as
// the web user. Input on standard input: {"root", "desired",
// "redis_place"}. Prints how many were moved.

function put_into_old_list($redis, $prefix, $queue, $job)
{
    $id = md5($job["id"]);
    $old = array("class" => SHELLS[$job["command"]], "args" => array($job["args"]), "id" => $id);
    $script = 'if redis.call("SET", KEYS[1], "1", "NX", "EX", ARGV[3]) then'
        . ' redis.call("SADD", KEYS[2], ARGV[1]) redis.call("RPUSH", KEYS[3], ARGV[2]) return 1 end return 0';
    $keys = array($prefix . MOVED . $id, "{$prefix}queues", "{$prefix}queue:$queue");
    atomically($redis, $script, $keys, array($queue, json_encode($old), MARK_SECONDS));
}

// A conversion that was cut off: what had not arrived goes back to the list that it came from.
function release_held($old, $old_prefix, $new, $new_prefix)
{
    $script = 'if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end'
        . ' if ARGV[3] ~= "" then redis.call("ZADD", KEYS[3], ARGV[3], ARGV[3]) end'
        . ' redis.call("LPUSH", KEYS[2], ARGV[2]) return 1';
    foreach (array_reverse($old->lRange($old_prefix . HELD, 0, -1)) as $entry) { // the oldest comes first again
        $from = json_decode($entry, true);
        if ($new->exists($new_prefix . MOVED . $from["id"])) {
            $old->lRem($old_prefix . HELD, $entry, 1);
        } else {
            $keys = array($old_prefix . HELD, $old_prefix . $from["list"], "{$old_prefix}_schdlr_");
            atomically($old, $script, $keys, array($entry, $from["record"], delayed_until($from["list"])));
        }
    }
}

function move_all($new, $new_prefix, $old, $old_prefix, $lock) // how many
{
    $moved = 0;
    take_back($new, $new_prefix);
    foreach (QUEUES as $queue) {
        $list = $new_prefix . $queue;
        foreach ($new->lRange($list, 0, -1) as $record) {
            $lock->renew();
            $job = json_decode($record, true);
            if (!isset($job["id"], $job["command"], SHELLS[$job["command"]])) {
                stop("a record in $list is no job: " . substr($record, 0, 200));
            }
            put_into_old_list($old, $old_prefix, $queue, $job);
            $new->lRem($list, $record, 1);
            $new->del("{$new_prefix}job_status:" . $job["id"]);
            $moved++;
        }
    }
    return $moved;
}

$in = json_decode(stream_get_contents(STDIN), true);
try {
    list($new, $new_prefix) = new_backend($in);
} catch (Exception $error) {
    stop("the new backend's Redis: " . $error->getMessage());
}
$lock = new Lock($new, $new_prefix);
list($old, $old_prefix) = old_backend($in);
release_held($old, $old_prefix, $new, $new_prefix);
echo move_all($new, $new_prefix, $old, $old_prefix, $lock) . " moved\n";
