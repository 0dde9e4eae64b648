// What a Redis answers, and whether it is fit for the queues. Comes behind misp.php and places.php.

const QUEUES = array("default", "email", "cache", "prio", "update", "scheduler");
const ASIDE = "misp-workers-aside:"; // lists of jobs that no worker shall take for a moment
const MOVED = "misp-workers-moved:"; // marks of jobs that arrived, of either backend
const LOCK = "misp-workers-lock"; // of the host that moves jobs back

function connect($host, $port, $password, $database)
{
    $redis = new Redis();
    if (!@$redis->connect($host, (int)$port, 5.0)) {
        throw new Exception("no connection");
    }
    $redis->setOption(Redis::OPT_READ_TIMEOUT, 10);
    if ((string)$password !== "") {
        try {
            $redis->auth($password);
        } catch (RedisException $error) { // WRONGPASS, or a password where Redis has none
            throw new Exception("the password is refused (" . $error->getMessage() . ")");
        }
    }
    if (!$redis->select((int)$database)) {
        throw new Exception("database $database refused: " . $redis->getLastError());
    }
    if (!$redis->ping()) {
        throw new Exception($redis->getLastError());
    }
    return $redis;
}

function uuid4()
{
    $bytes = random_bytes(16);
    $bytes[6] = chr(ord($bytes[6]) & 0x0f | 0x40);
    $bytes[8] = chr(ord($bytes[8]) & 0x3f | 0x80);
    return vsprintf("%s%s-%s-%s-%s-%s%s%s", str_split(bin2hex($bytes), 4));
}

function keys_like($redis, $pattern, $limit)
{
    $redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
    $cursor = null;
    $found = array();
    while (($keys = $redis->scan($cursor, $pattern, 500)) !== false && count($found) < $limit) {
        $found = array_merge($found, $keys);
    }
    return array_values(array_unique($found));
}

// Keys that the new backend would not have left behind in a finished or never begun state.
function foreign_keys($redis, $namespace)
{
    $ours = '/^' . preg_quote($namespace, "/") . ':(job_status:|running:|data_content:|' . MOVED . '|' . LOCK . '$|(' . ASIDE . ')?(' . implode("|", QUEUES) . ')$)/';
    $odd = array();
    foreach (keys_like($redis, "$namespace:*", 20000) as $key) {
        if (!preg_match($ours, $key)) {
            $odd[] = $key;
        }
    }
    return $odd;
}

function blocked_clients($redis, $database) // workers of somebody's, waiting in this database
{
    $clients = @$redis->client("list");
    if (!is_array($clients)) {
        return 0; // an ACL may forbid CLIENT LIST
    }
    $waiting = array_filter($clients, function ($client) use ($database) {
        return isset($client["cmd"], $client["db"]) && $client["cmd"] === "blpop" && (int)$client["db"] === $database;
    });
    return count($waiting);
}

function topic_redis($in)
{
    $wanted = wanted_place($in);
    $redis = connect($wanted["redis_host"], $wanted["redis_port"], $wanted["redis_password"], $wanted["redis_database"]);
    $queues = array();
    $aside = 0;
    foreach (QUEUES as $queue) {
        $queues[$queue] = (int)$redis->lLen($wanted["redis_namespace"] . ":" . $queue);
        $aside += (int)$redis->lLen($wanted["redis_namespace"] . ":" . ASIDE . $queue);
    }
    $info = $redis->info("memory");
    return array(
        "ok" => true,
        "foreign_keys" => array_slice(foreign_keys($redis, $wanted["redis_namespace"]), 0, 3),
        "waiting" => array_sum($queues),
        "queues" => $queues,
        "aside" => $aside,
        "blocked_clients" => blocked_clients($redis, $wanted["redis_database"]),
        "eviction" => isset($info["maxmemory_policy"]) ? $info["maxmemory_policy"] : "",
    );
}
