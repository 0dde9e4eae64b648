// Puts one harmless job (`admin redisReady`) into every queue and waits for its end, in MISP's own
// wire format (BackgroundJobsTool.php). Comes behind misp.php. Input on standard input: {"root",
// "workers": {queue: count}, "timeout", "longest_wait" in seconds}. Prints a line for each queue; status
// 1 unless all were completed.

class TestJob
{
    private $redis;
    private $namespace;
    private $queue;
    private $in;
    private $id;
    private $began;
    private $seen; // when it was last known not to be abandoned
    private $limit;

    public function __construct($redis, $namespace, $queue, $in)
    {
        $this->redis = $redis;
        $this->namespace = $namespace;
        $this->queue = $queue;
        $this->in = $in;
        $this->id = uuid4();
        $this->began = $this->seen = microtime(true);
        $this->limit = $this->began + $in["timeout"];
        $job = json_encode(array("id" => $this->id, "command" => "admin", "args" => array("redisReady"), "createdAt" => time(),
            "updatedAt" => null, "status" => 1, "output" => null, "error" => null, "metadata" => array()));
        // Not MISP's order: with the status first, a fast worker's "completed" is never overwritten. And
        // the other end of the list: it waits for the first worker that ends its job, not for a backlog.
        $redis->setex("$namespace:job_status:" . $this->id, 3600, $job);
        $redis->lPush("$namespace:$queue", $job);
    }

    public function outcome() // "completed" or what else became of it; null while it waits or runs
    {
        $job = json_decode((string)$this->redis->get("{$this->namespace}:job_status:{$this->id}"), true);
        $outcome = $this->verdict($job);
        $outcome = $outcome === null && $this->is_abandoned($job) ? "failed: its worker died over it" : $outcome;
        $outcome = $outcome === null && $this->is_over($job) ? $this->taken_back() : $outcome;
        if ($outcome !== null) {
            $this->redis->del("{$this->namespace}:job_status:{$this->id}");
        }
        return $outcome;
    }

    private function verdict($job)
    {
        if (!isset($job["status"]) || $job["status"] < 3) {
            return null;
        }
        $is_ready = $job["status"] === 4 && strpos((string)$job["output"], "Successfully connected to Redis") !== false;
        return $is_ready ? "completed" : "failed: " . trim($job["error"] . " " . $job["output"]);
    }

    // While a job runs its worker renews this key every few seconds, from MISP 2.4.184 on
    // (StartWorkerShell.php). One that dies over a job leaves it "running" for ever.
    private function is_abandoned($job)
    {
        $is_running = isset($job["status"]) && $job["status"] === 2;
        if (!$is_running || $this->redis->exists("{$this->namespace}:running:{$this->queue}:{$this->id}")) {
            $this->seen = microtime(true);
        }
        return microtime(true) - $this->seen > (marks_running_jobs($this->in["root"]) ? 30 : $this->in["timeout"]);
    }

    // At the limit it may run, or all of its queue's workers have a job, as the same keys say. That these
    // are long is no fault of theirs.
    private function is_over($job)
    {
        $now = microtime(true);
        if ($now < $this->limit) {
            return false;
        }
        if (isset($job["status"]) && $job["status"] === 2) {
            return $now > $this->began + $this->in["longest_wait"];
        }
        $workers = $this->in["workers"][$this->queue];
        $running = count(keys_like($this->redis, "{$this->namespace}:running:{$this->queue}:*", $workers));
        $this->limit = $now + 5;
        return $running < $workers || $now > $this->began + $this->in["longest_wait"];
    }

    private function taken_back() // if nobody has it yet, so that no later worker runs it
    {
        $list = "{$this->namespace}:{$this->queue}";
        foreach ($this->redis->lRange($list, 0, -1) as $record) {
            strpos($record, $this->id) === false || $this->redis->lRem($list, $record, 1);
        }
        return "not done after " . round(microtime(true) - $this->began) . " s";
    }
}

function marks_running_jobs($root)
{
    $version = json_decode((string)@file_get_contents("$root/VERSION.json"), true);
    return is_array($version) && version_compare(implode(".", $version), "2.4.184", ">=");
}

$in = json_decode(stream_get_contents(STDIN), true);
$block = block_of(settings($in), "SimpleBackgroundJobs");
$redis = connect($block["redis_host"], $block["redis_port"], isset($block["redis_password"]) ? $block["redis_password"] : "", $block["redis_database"]);
$pending = array();
foreach (array_keys($in["workers"]) as $queue) {
    $pending[$queue] = new TestJob($redis, $block["redis_namespace"], $queue, $in);
}
$failed = false;
while ($pending) {
    foreach ($pending as $queue => $job) {
        $outcome = $job->outcome();
        if ($outcome !== null) {
            echo "$queue: $outcome\n";
            $failed = $failed || $outcome !== "completed";
            unset($pending[$queue]);
        }
    }
    usleep(50000);
}
exit($failed ? 1 : 0);
