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
$limit = microtime(true) + $in["timeout"];
while ($pending && microtime(true) < $limit) {
    foreach ($pending as $queue => $id) {
        $outcome = verdict(json_decode((string)$redis->get("job_status:$id"), true));
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
