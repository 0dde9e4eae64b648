// Jobs on their way between the backends, both ways: functions for list_old_jobs.php, convert_jobs.php
// and move_jobs.php. Comes behind misp.php.
//
// Exactly once, also when it is cut off and run again: what id a job has over there is settled before
// it goes, and a mark that is set in one step with the arrival says that it is there already.

const SHELLS = array("event" => "EventShell", "server" => "ServerShell", "admin" => "AdminShell", "workflow" => "WorkflowShell");
const MARK_SECONDS = 604800;
const LOCK_SECONDS = 30; // longer than one job takes

function stop($reason)
{
    fwrite(STDERR, "$reason\n");
    exit(1);
}

function backend_at($at) // its connection, its keys' prefix and where it is
{
    return array(connect($at["redis_host"], $at["redis_port"], $at["redis_password"], $at["redis_database"]),
        $at["redis_namespace"] . ":", $at);
}

function new_backend($in)
{
    return backend_at(place_in_use($in));
}

function old_backend($in) // its connection and its keys' prefix
{
    $at = legacy_redis($in["root"]);
    if ($at === null) {
        stop("there is no CakeResque here");
    }
    return array(connect($at["host"], $at["port"], $at["password"], $at["database"]), $at["namespace"] . ":");
}

function atomically($redis, $script, $keys, $values)
{
    $result = $redis->eval($script, array_merge($keys, $values), count($keys));
    if ($redis->getLastError() !== null) {
        stop("Redis refuses a script: " . $redis->getLastError());
    }
    return $result;
}

// What waits on the new backend goes to lists beside, and comes back to the head of its own; each list
// in one step, so that a job is always in one of the two.
function put_aside($redis, $prefix) // false: this Redis allows no scripts, nothing was moved
{
    try {
        move_lists($redis, $prefix, 'if redis.call("EXISTS", KEYS[1]) == 0 then return 0 end'
            . ' if redis.call("EXISTS", KEYS[2]) == 0 then redis.call("RENAME", KEYS[1], KEYS[2]) return 1 end'
            . ' for _, job in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do redis.call("RPUSH", KEYS[2], job) end'
            . ' redis.call("DEL", KEYS[1]) return 1');
    } catch (RedisException $error) {
        return false;
    }
    return true;
}

function take_back($redis, $prefix)
{
    $lists = array_map(function ($queue) use ($prefix) { return $prefix . ASIDE . $queue; }, QUEUES);
    if (!array_filter(array_map(array($redis, "exists"), $lists))) {
        return;
    }
    move_lists($redis, $prefix, 'if redis.call("EXISTS", KEYS[2]) == 0 then return 0 end'
        . ' for _, job in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do redis.call("RPUSH", KEYS[2], job) end'
        . ' redis.call("RENAME", KEYS[2], KEYS[1]) return 1');
}

function move_lists($redis, $prefix, $script) // KEYS: a queue's list and the one beside it
{
    foreach (QUEUES as $queue) {
        if ($redis->eval($script, array($prefix . $queue, $prefix . ASIDE . $queue), 2) === false) {
            throw new RedisException((string)$redis->getLastError());
        }
    }
}

// Several hosts may share a Redis: one at a time goes back and moves jobs out of it. The others wait for
// ten minutes.
class Lock
{
    private $token;
    private $redis;
    private $key;
    private $renewed;

    public function __construct($redis, $prefix)
    {
        list($this->redis, $this->key, $this->token) = array($redis, $prefix . LOCK, uuid4());
        for ($tries = 0; !$redis->set($this->key, $this->token, array("nx", "ex" => LOCK_SECONDS)); $tries++) {
            if ($tries > 6000) {
                stop("another host has been moving jobs out of this Redis for ten minutes ({$this->key}): run again when it has ended");
            }
            usleep(100000);
        }
        $this->renewed = microtime(true);
        register_shutdown_function(array($this, "release"));
    }

    public function renew() // to be called before each job
    {
        if (microtime(true) - $this->renewed < LOCK_SECONDS / 6) {
            return;
        }
        if (!$this->is_held()) {
            stop("another host moves jobs out of this Redis as well ({$this->key}): run again when it has ended");
        }
        $this->redis->expire($this->key, LOCK_SECONDS);
        $this->renewed = microtime(true);
    }

    public function release()
    {
        if ($this->is_held()) {
            $this->redis->del($this->key);
        }
    }

    private function is_held()
    {
        return $this->redis->get($this->key) === $this->token;
    }
}

// The lists of the old backend that hold jobs, without prefix: queue:NAME, and _schdlr_:EPOCH for
// delayed ones, with all their records as they stand there.
function old_lists($redis, $prefix)
{
    $names = array();
    foreach (legacy_queues($redis, $prefix) as $queue) {
        $names[] = "queue:$queue";
    }
    foreach ((array)$redis->zRange("{$prefix}_schdlr_", 0, -1) as $when) {
        $names[] = "_schdlr_:$when";
    }
    $lists = array();
    foreach ($names as $name) {
        $lists[$name] = $redis->lRange($prefix . $name, 0, -1);
    }
    return array_filter($lists);
}

function delayed_until($list) // as text, empty for a list of waiting jobs
{
    return strpos($list, "_schdlr_:") === 0 ? substr($list, strlen("_schdlr_:")) : "";
}

// Null for what is no job of MISP's. A delayed record has its id and its queue in other places than a
// waiting one (php-resque-ex-scheduler).
function as_new_job($list, $record)
{
    $old = json_decode($record, true);
    $command = isset($old["class"]) ? array_search($old["class"], SHELLS, true) : false;
    if ($command === false || !isset($old["args"][0]) || !is_array($old["args"][0])) {
        return null;
    }
    $args = $old["args"][0];
    $is_delayed = delayed_until($list) !== "";
    $id = $is_delayed ? (isset($args["id"]) ? $args["id"] : null) : (isset($old["id"]) ? $old["id"] : null);
    $queue = $is_delayed ? (isset($old["queue"]) ? $old["queue"] : null) : substr($list, strlen("queue:"));
    unset($args["id"], $args["s_time"]);
    if (!is_string($id) || $id === "" || !in_array($queue, array_slice(QUEUES, 0, 5), true)) {
        return null;
    }
    return array("queue" => $queue, "old_id" => $id, "command" => $command, "args" => array_values($args));
}
