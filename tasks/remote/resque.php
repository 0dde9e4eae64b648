// The old backend's configuration and its keys in Redis (php-resque-ex, CakeResque): functions. Comes
// behind misp.php.

const HELD = "misp-workers-held"; // list of jobs on their way from here to the new backend

class App // MISP's CakeResque configuration asks it where the plugin is (INSTALL/setup/config.php)
{
    public static function pluginPath($plugin) { return APP . "Plugin/$plugin/"; }
    public static function __callStatic($name, $arguments) { return ""; }
}

class Configure // CakeResque's configuration may ask it for things; nothing that matters here
{
    public static function read($key = null) { return null; }
    public static function write($key, $value = null) { return true; }
}

function legacy_redis($root)
{
    $file = "$root/app/Plugin/CakeResque/Config/config.php";
    if (!file_exists($file)) {
        return null;
    }
    foreach (array("DS" => "/", "ROOT" => $root, "APP" => "$root/app/", "TMP" => "$root/app/tmp/",
        "LOGS" => "$root/app/tmp/logs/", "VENDORS" => "$root/vendors/") as $name => $value) {
        defined($name) || define($name, $value);
    }
    $config = load_config($file);
    $redis = isset($config["CakeResque"]["Redis"]) ? $config["CakeResque"]["Redis"] : array();
    return $redis + array("host" => "127.0.0.1", "port" => 6379, "database" => 0,
        "namespace" => "resque", "password" => null);
}

function is_old_worker($pid)
{
    $arguments = @file_get_contents("/proc/" . (int)$pid . "/cmdline");
    return $arguments !== false && strpos($arguments, "resque") !== false;
}

function host_and_pid($worker) // of HOST:PID:QUEUE
{
    $parts = explode(":", $worker);
    return count($parts) < 3 ? array("", 0) : array(implode(":", array_slice($parts, 0, -2)), (int)$parts[count($parts) - 2]);
}

// resque:worker:HOST:PID:QUEUE exists while a job runs (the key that ends in :started always), and
// for ever if its worker was killed: only a process that lives counts.
function running_legacy($redis, $prefix)
{
    $running = 0;
    foreach (keys_like($redis, "{$prefix}worker:*", 10000) as $key) {
        list(, $pid) = host_and_pid(substr($key, strlen("{$prefix}worker:")));
        $running += substr($key, -8) !== ":started" && $pid && is_old_worker($pid) ? 1 : 0;
    }
    return $running;
}

// What dead old workers of this host left: {key: [member, ...]}. MISP's page lists it, and "Kill all
// workers" and `stop --all` signal whatever has these PIDs by now. Keys of the page stand with or
// without the prefix (MISP #5283). A PID that a worker of another host has is left alone.
function stale_legacy($redis, $prefix)
{
    $stale = array();
    $others = array();
    foreach ($redis->sMembers("{$prefix}workers") ?: array() as $worker) {
        list($host, $pid) = host_and_pid($worker);
        if ($host !== php_uname("n")) {
            $others[$pid] = true;
        } elseif (!is_old_worker($pid)) {
            $stale["{$prefix}workers"][] = $worker;
        }
    }
    foreach (array_unique(array($prefix, "")) as $either) {
        foreach ($redis->sMembers("{$either}PausedWorker") ?: array() as $worker) {
            list($host, $pid) = host_and_pid($worker);
            if ($host === php_uname("n") && !is_old_worker($pid)) {
                $stale["{$either}PausedWorker"][] = $worker;
            }
        }
        $scheduler = $redis->get("{$either}ResqueSchedulerWorker");
        foreach (array("ResqueWorker" => $redis->hKeys("{$either}ResqueWorker") ?: array(),
            "ResqueSchedulerWorker" => $scheduler ? array($scheduler) : array()) as $key => $pids) {
            foreach ($pids as $pid) {
                if (!isset($others[(int)$pid]) && !is_old_worker($pid)) {
                    $stale[$either . $key][] = $pid;
                }
            }
        }
    }
    return $stale;
}

// Queues that workers of other hosts have: whether these live cannot be seen from here.
function queues_elsewhere($redis, $prefix)
{
    $queues = array();
    foreach ($redis->sMembers("{$prefix}workers") ?: array() as $worker) {
        if (host_and_pid($worker)[0] !== php_uname("n")) {
            $queues = array_merge($queues, explode(",", substr(strrchr($worker, ":"), 1)));
        }
    }
    return array_values(array_unique($queues));
}

function legacy_queues($redis, $prefix)
{
    return array_unique(array_merge((array)$redis->sMembers("{$prefix}queues"), array_slice(QUEUES, 0, 5)));
}

// MISP's scheduled tasks are delayed jobs that put themselves there again (Task.php): ServerShell's
// enqueuePull, enqueuePush, enqueueFeedFetch, enqueueFeedCache and EventShell's enqueueCaching.
function is_scheduled_task($record)
{
    $job = json_decode($record, true);
    return isset($job["args"][0][0]) && preg_match('/^enqueue[A-Z]/', (string)$job["args"][0][0]) === 1;
}

// {"delayed": n, "scheduled": n, "last_due": seconds until the last of both is due, "next_due": until
// the first that is no scheduled task; 0 when it is due already or there is none, "overdue": seconds
// since the first of both was due}.
function delayed_legacy($redis, $prefix)
{
    $seen = array("delayed" => 0, "scheduled" => 0, "last_due" => 0, "next_due" => 0, "overdue" => 0);
    foreach ((array)$redis->zRange("{$prefix}_schdlr_", 0, -1) as $when) { // the soonest comes first
        $due = max(0, (int)$when - time());
        foreach ($redis->lRange("{$prefix}_schdlr_:$when", 0, -1) as $record) {
            $kind = is_scheduled_task($record) ? "scheduled" : "delayed";
            if ($kind === "delayed" && $seen["delayed"] === 0) {
                $seen["next_due"] = $due;
            }
            $seen[$kind]++;
            $seen["last_due"] = $due;
            $seen["overdue"] = max($seen["overdue"], time() - (int)$when);
        }
    }
    return $seen;
}

// How much work the old backend still has: {"waiting": {queue: n}, "running": n, "held": n} and what
// delayed_legacy says. `processed` counts jobs that ended, ever; `held` are jobs that a conversion had
// taken out of their list when it was cut, `stale` entries of dead workers, `elsewhere` the queues
// that other hosts' workers have.
function topic_legacy($in)
{
    $at = legacy_redis($in["root"]);
    if ($at === null) {
        return array("installed" => false);
    }
    $redis = connect($at["host"], $at["port"], $at["password"], $at["database"]);
    $prefix = $at["namespace"] . ":";
    $waiting = array();
    foreach (legacy_queues($redis, $prefix) as $queue) {
        $waiting[$queue] = (int)$redis->lLen("{$prefix}queue:$queue");
    }
    return array("installed" => true, "waiting" => $waiting, "running" => running_legacy($redis, $prefix),
        "processed" => (int)$redis->get("{$prefix}stat:processed"), "held" => (int)$redis->lLen($prefix . HELD),
        "stale" => array_sum(array_map("count", stale_legacy($redis, $prefix))),
        "elsewhere" => queues_elsewhere($redis, $prefix)) + delayed_legacy($redis, $prefix);
}
