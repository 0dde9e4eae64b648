// Puts one harmless job (`admin redisReady`) into every queue and waits for its end, in MISP's own
// wire format (BackgroundJobsTool.php). Comes behind misp.php. Input on standard input: {"root",
// "queues", "timeout" in seconds}. Prints a line for each queue; status 1 unless all were completed.
function enqueue($redis, $queue, $ttl)
{
    $job = array("id" => uuid4(), "command" => "admin", "args" => array("redisReady"), "createdAt" => time(),
        "updatedAt" => null, "status" => 1, "output" => null, "error" => null, "metadata" => array());
    // Not MISP's order: with the status first, a fast worker's "completed" is never overwritten.
    $redis->setex("job_status:" . $job["id"], $ttl, json_encode($job));
    $redis->rPush($queue, json_encode($job));
    return $job["id"];
}

function verdict($job) // null while it waits or runs
{
    if (!isset($job["status"]) || $job["status"] < 3) {
        return null;
    }
    $is_ready = $job["status"] === 4 && strpos((string)$job["output"], "Successfully connected to Redis") !== false;
    return $is_ready ? "completed" : "failed: " . trim($job["error"] . " " . $job["output"]);
}

// While a job runs its worker renews this key every few seconds, from MISP 2.4.184 on
// (StartWorkerShell.php). One that dies over a job leaves it "running" for ever.
function is_run_by_somebody($redis, $queue, $id, $job)
{
    return !isset($job["status"]) || $job["status"] !== 2 || $redis->exists("running:$queue:$id");
}

function marks_running_jobs($root)
{
    $version = json_decode((string)@file_get_contents("$root/VERSION.json"), true);
    return is_array($version) && version_compare(implode(".", $version), "2.4.184", ">=");
}

$in = json_decode(stream_get_contents(STDIN), true);
$config = settings($in);
$block = block_of($config, "SimpleBackgroundJobs");
$redis = connect($block["redis_host"], $block["redis_port"], isset($block["redis_password"]) ? $block["redis_password"] : "", $block["redis_database"]);
$redis->setOption(Redis::OPT_PREFIX, $block["redis_namespace"] . ":");

$pending = array();
foreach ($in["queues"] as $queue) {
    $pending[$queue] = enqueue($redis, $queue, 3600);
}
$failed = false;
$abandoned_after = marks_running_jobs($in["root"]) ? 30 : $in["timeout"]; // seconds
$last_seen = array_fill_keys($pending, microtime(true));
$limit = microtime(true) + $in["timeout"];
while ($pending && microtime(true) < $limit) {
    foreach ($pending as $queue => $id) {
        $job = json_decode((string)$redis->get("job_status:$id"), true);
        $outcome = verdict($job);
        if (is_run_by_somebody($redis, $queue, $id, $job)) {
            $last_seen[$id] = microtime(true);
        } elseif (microtime(true) - $last_seen[$id] > $abandoned_after) {
            $outcome = "failed: its worker died over it";
        }
        if ($outcome !== null) {
            echo "$queue: $outcome\n";
            $failed = $failed || $outcome !== "completed";
            $redis->del("job_status:$id");
            unset($pending[$queue]);
        }
    }
    usleep(50000);
}
foreach ($pending as $queue => $id) {
    // Taken back, if nobody has it yet, so that a later worker does not run it.
    foreach ($redis->lRange($queue, 0, -1) as $record) {
        strpos($record, $id) === false || $redis->lRem($queue, $record, 1);
    }
    echo "$queue: not done after {$in['timeout']} s\n";
}
exit($failed || $pending ? 1 : 0);
