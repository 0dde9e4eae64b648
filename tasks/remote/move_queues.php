// Moves every waiting job of the new backend from where MISP's settings had it to where they have it now.
// Comes behind jobs.php; runs as the web user. Input on standard input: {"root", "desired",
// "redis_places"}. Prints how many were moved.
//
// Workers may take jobs there meanwhile. So a whole queue becomes a list that no worker knows, in one step.

function move_queue($from, $to, $queue) // how many
{
    list($here, $prefix) = $from;
    list($there, $new_prefix) = $to;
    $moving = $prefix . MOVING . $queue;
    foreach ($here->lRange($prefix . $queue, 0, -1) as $record) {
        renew_locks(array($from, $to));
        $there->del($new_prefix . MOVED . id_of($record)); // of an earlier move of the same job
    }
    if (!$here->exists($prefix . $queue)) {
        return 0;
    }
    if (!$here->renameNx($prefix . $queue, $moving) && $here->exists($prefix . $queue)) {
        stop("$moving is not empty: another host moves jobs as well. Run again when it has ended");
    }
    $records = $here->lRange($moving, 0, -1);
    foreach ($records as $record) {
        renew_locks(array($from, $to));
        $mark = $new_prefix . MOVED . id_of($record);
        $keys = keys_of($record);
        foreach ($keys as $key) {
            copy_key($here, $prefix . $key, $there, $new_prefix . $key);
        }
        check_taken($there, $there->multi()->setex($mark, MARK_SECONDS, "1")->rPush($new_prefix . $queue, $record)->exec());
        $here->lRem($moving, $record, 1);
        foreach ($keys as $key) {
            $here->del($prefix . $key);
        }
        $there->del($mark);
    }
    return count($records);
}

// What else there is of a job that waits: its status, and input that is too big for an argument
// (BackgroundJobsTool.php: enqueueDataFile).
function keys_of($record)
{
    $job = json_decode($record, true);
    $keys = array("job_status:" . id_of($record));
    foreach (isset($job["args"]) && is_array($job["args"]) ? $job["args"] : array() as $argument) {
        if (is_string($argument) && strpos($argument, "redis:") === 0) {
            $keys[] = "data_content:" . substr($argument, strlen("redis:"));
        }
    }
    return $keys;
}

function copy_key($here, $key, $there, $new_key)
{
    $value = $here->get($key);
    $seconds = $here->ttl($key);
    if ($value !== false) {
        $there->set($new_key, $value, $seconds > 0 ? array("nx", "ex" => $seconds) : array("nx"));
    }
}

$in = json_decode(stream_get_contents(STDIN), true);
$backends = apart(backends_at(array_merge(array(wanted_place($in)), former_places($in))));
settle_moves($backends);
$moved = 0;
foreach (array_slice($backends, 1) as $from) {
    take_back($from[0], $from[1]);
    foreach (QUEUES as $queue) {
        $moved += move_queue($from, $backends[0], $queue);
    }
}
echo "$moved moved\n";
