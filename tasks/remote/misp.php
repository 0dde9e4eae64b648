// What MISP's configuration says, and whether Redis agrees: functions for ask.php and canary.php.
// They run as the web user and load none of MISP's code but its configuration files.
// Syntax is that of PHP 7.0, so that an old PHP can be told that it is too old.

const QUEUES = array("default", "email", "cache", "prio", "update", "scheduler");
const ASIDE = "misp-workers-aside:"; // lists of jobs that no worker shall take for a moment
const MOVED = "misp-workers-moved:"; // marks of jobs that arrived, of either backend
const MOVING = "misp-workers-moving:"; // lists of jobs on their way to another Redis

function load_config($file) // its $config, or an Exception that says what is wrong with the file
{
    if (!is_readable($file)) {
        throw new Exception("cannot be read by " . posix_getpwuid(posix_geteuid())["name"]);
    }
    ob_start();
    try {
        include $file;
    } catch (ParseError $error) { // its message repeats a piece of the file
        throw new Exception("has a syntax error in line " . $error->getLine());
    } finally {
        ob_end_clean();
    }
    if (!isset($config) || !is_array($config)) {
        throw new Exception("does not set \$config to an array");
    }
    return $config;
}

// Settings that live in the database come through MISP's own CLI: `Admin getSetting all`. For an
// unset key it shows the default with errorMessage "Value not set.", so that counts as absent.
function load_from_cli($root, $config)
{
    $process = proc_open(
        array("$root/app/Console/cake", "Admin", "getSetting", "all"),
        array(array("file", "/dev/null", "r"), array("pipe", "w"), array("file", "/dev/null", "w")),
        $pipes,
        $root
    );
    $settings = json_decode(stream_get_contents($pipes[1]), true);
    if (proc_close($process) !== 0 || !is_array($settings)) {
        throw new Exception("is overruled by the database, and `cake Admin getSetting all` failed");
    }
    foreach ($settings as $name => $setting) {
        $name = isset($setting["setting"]) ? $setting["setting"] : $name;
        $parts = explode(".", $name, 2);
        $unset = isset($setting["errorMessage"]) && $setting["errorMessage"] === "Value not set.";
        if (count($parts) === 2 && array_key_exists("value", $setting)) {
            if ($unset) {
                unset($config[$parts[0]][$parts[1]]);
            } else {
                $config[$parts[0]][$parts[1]] = $setting["value"];
            }
        }
    }
    return $config;
}

function settings($in) // read once: in database mode it costs a run of `cake`
{
    static $config = null;
    if ($config !== null) {
        return $config;
    }
    $config = load_config($in["root"] . "/app/Config/config.php");
    if (!empty($config["MISP"]["system_setting_db"])) {
        $config = load_from_cli($in["root"], $config);
    }
    return $config;
}

// The PHP that runs this, as `php -v` and `php -m` would have it.
function topic_php_version($in)
{
    return PHP_MAJOR_VERSION . "." . PHP_MINOR_VERSION . "." . PHP_RELEASE_VERSION;
}

function topic_extension($in)
{
    return get_loaded_extensions();
}

function same_host($a, $b)
{
    $local = array("localhost", "127.0.0.1", "::1");
    return $a === $b || (in_array($a, $local, true) && in_array($b, $local, true));
}

// First that is given: the operator's value, what the block has, what MISP itself uses, the guide's.
function wanted_redis($in, $block, $misp)
{
    $guide = array("redis_host" => "127.0.0.1", "redis_port" => 6379, "redis_database" => 1,
        "redis_namespace" => "background_jobs", "max_job_history_ttl" => 86400);
    $wanted = array();
    foreach ($guide as $key => $default) {
        $own = in_array($key, array("redis_host", "redis_port"), true) && isset($misp[$key]) ? $misp[$key] : $default;
        $has = isset($block[$key]) && $block[$key] !== "" ? $block[$key] : $own;
        $value = isset($in["desired"][$key]) ? $in["desired"][$key] : $has;
        $wanted[$key] = is_int($default) ? (int)$value : (string)$value;
    }
    if (substr($wanted["redis_host"], 0, 1) === "/") {
        $wanted["redis_port"] = 0; // phpredis takes a socket for a host name otherwise
    }
    $wanted["redis_password"] = wanted_redis_password($in, $block, $misp, $wanted);
    return $wanted;
}

function wanted_redis_password($in, $block, $misp, $wanted)
{
    if (isset($in["desired"]["redis_password"])) {
        return $in["desired"]["redis_password"];
    }
    $own = array("redis_host" => isset($misp["redis_host"]) ? $misp["redis_host"] : "127.0.0.1",
        "redis_port" => isset($misp["redis_port"]) ? $misp["redis_port"] : 6379);
    $is_own = is_same_server($own, $wanted);
    // The block's is that of the block's server, which may be another one so far.
    if (!empty($block["redis_password"]) && (!$is_own || is_same_server($block + $wanted, $wanted))) {
        return (string)$block["redis_password"];
    }
    return $is_own && !empty($misp["redis_password"]) ? (string)$misp["redis_password"] : "";
}

function is_same_server($a, $b)
{
    $is_socket = substr($a["redis_host"], 0, 1) === "/"; // and has no port
    return same_host($a["redis_host"], $b["redis_host"]) && ($is_socket || (int)$a["redis_port"] === (int)$b["redis_port"]);
}

function is_same_database($a, $b)
{
    return is_same_server($a, $b) && (int)$a["redis_database"] === (int)$b["redis_database"];
}

function is_same_place($a, $b)
{
    return is_same_database($a, $b) && $a["redis_namespace"] === $b["redis_namespace"];
}

function is_among($place, $others, $same)
{
    return (bool)array_filter($others, function ($other) use ($place, $same) { return $same($place, $other); });
}

function shown_place($at)
{
    return "{$at["redis_host"]}:{$at["redis_port"]}, database {$at["redis_database"]}, namespace {$at["redis_namespace"]}";
}

function wanted_place($in)
{
    $config = settings($in);
    return wanted_redis($in, block_of($config, "SimpleBackgroundJobs"), block_of($config, "MISP"));
}

function stored_place($in) // null: MISP does not use the new backend
{
    $config = settings($in);
    $block = block_of($config, "SimpleBackgroundJobs");
    return empty($block["enabled"]) ? null : wanted_redis(array(), $block, block_of($config, "MISP"));
}

// Where MISP's new backend is or was, each once: what this host remembers (redis_places in lib.sh), first
// where its workers are, since these read the settings once (BackgroundJobsTool.php); and what MISP has now,
// unless nobody answers there, as where somebody spoiled the settings.
function known_places($in)
{
    static $known = null;
    if ($known !== null) {
        return $known;
    }
    $known = array();
    foreach (isset($in["redis_places"]) ? $in["redis_places"] : array() as $place) {
        if (!is_among($place, $known, "is_same_place")) {
            $known[] = with_password($in, $place);
        }
    }
    $stored = stored_place($in);
    $is_news = $stored !== null && !is_among($stored, $known, "is_same_place");
    if ($is_news && (is_same_place($stored, wanted_place($in)) || unfitness($stored) === null)) {
        $known[] = $stored;
    }
    return $known;
}

function former_places($in) // where it shall not be any more: jobs may wait there
{
    $wanted = wanted_place($in);
    return array_values(array_filter(known_places($in), function ($place) use ($wanted) {
        return !is_same_place($place, $wanted);
    }));
}

function unfitness($place) // why that Redis cannot be used, or null
{
    try {
        connect($place["redis_host"], $place["redis_port"], $place["redis_password"], $place["redis_database"]);
    } catch (Exception $error) {
        return $error->getMessage();
    }
    return null;
}

// What is known now of the password for its server, the newest first, else what MISP itself has.
function with_password($in, $place)
{
    foreach (array(wanted_place($in), stored_place($in), $place) as $known) {
        if (isset($known["redis_password"]) && is_same_server($known, $place)) {
            return array("redis_password" => $known["redis_password"]) + $place;
        }
    }
    return array("redis_password" => wanted_redis_password(array(), array(), block_of(settings($in), "MISP"), $place)) + $place;
}

function without_password($place)
{
    unset($place["redis_password"]);
    return $place;
}

// For the scripts that change where the backend is: all places that are known, with their passwords as long
// as there are former ones, and the wanted one.
function topic_places($in)
{
    $wanted = wanted_place($in);
    $known = former_places($in) ? known_places($in) : array();
    return json_encode(is_among($wanted, $known, "is_same_place") ? $known : array_merge($known, array(without_password($wanted))));
}

function topic_known_places($in) // for those that take MISP's settings back
{
    return json_encode(known_places($in));
}

function topic_place($in) // when all have left the former ones
{
    return json_encode(array(without_password(wanted_place($in))));
}

function block_of($config, $name)
{
    return isset($config[$name]) && is_array($config[$name]) ? $config[$name] : array();
}

// How long a worker waits for Redis's answer: phpredis takes PHP's limit unless MISP sets one.
function read_timeout($block)
{
    $own = isset($block["redis_read_timeout"]) ? (float)$block["redis_read_timeout"] : 0.0;
    return $own ?: (float)ini_get("default_socket_timeout");
}

// MISP writes a new file and a backup beside config.php, and looks whether it may write that one.
function is_savable($root)
{
    return is_writable("$root/app/Config/config.php") && is_writable("$root/app/Config");
}

// The block as stored, types kept; passwords only as "is it the wanted one".
function topic_settings($in)
{
    $config = settings($in);
    $block = block_of($config, "SimpleBackgroundJobs");
    $misp = block_of($config, "MISP");
    $wanted = wanted_redis($in, $block, $misp);
    $shown = $block;
    unset($shown["redis_password"], $shown["supervisor_password"]);
    // In the database an empty value is no row at all (SystemSetting.php).
    $absent = empty($misp["system_setting_db"]) ? null : "";
    $redis = array_key_exists("redis_password", $block) ? $block["redis_password"] : $absent;
    $stored = isset($block["supervisor_password"]) ? $block["supervisor_password"] : $absent;
    $redis_wanted = $wanted["redis_password"];
    unset($wanted["redis_password"]);
    return array(
        "block" => $shown,
        "wanted" => $wanted,
        "supervisor_password_matches" => $stored === supervisor_password($in),
        "redis_password_matches" => $redis === $redis_wanted,
        "database_mode" => !empty($misp["system_setting_db"]),
        "savable" => !empty($misp["system_setting_db"]) || is_savable($in["root"]),
        "read_timeout" => read_timeout($block),
        "encrypted" => !empty(block_of($config, "Security")["encryption_key"]),
        // MISP's command line takes a value that begins with - for an option.
        "redis_password_settable" => substr($redis_wanted, 0, 1) !== "-",
        "background_jobs" => isset($misp["background_jobs"]) ? (bool)$misp["background_jobs"] : true,
    );
}

// MISP's supervisor password if it is fit for use, else nothing. Letters and digits only, so that
// the shell and supervisor's parser take it as it is.
function topic_password($in)
{
    $block = block_of(settings($in), "SimpleBackgroundJobs");
    $stored = isset($block["supervisor_password"]) ? $block["supervisor_password"] : "";
    return is_string($stored) && preg_match('/^[A-Za-z0-9]{32,}\z/', $stored) ? $stored : "";
}

function supervisor_password($in)
{
    return isset($in["supervisor_password"]) ? $in["supervisor_password"] : topic_password($in);
}

// What the test jobs depend on, as a digest: where the queues are.
function topic_evidence($in)
{
    $block = block_of(settings($in), "SimpleBackgroundJobs");
    $redis = array_filter($block, function ($key) { return strpos($key, "redis_") === 0; }, ARRAY_FILTER_USE_KEY);
    ksort($redis);
    return array("enabled" => !empty($block["enabled"]), "digest" => hash("sha256", json_encode(array($redis, !empty($block["enabled"])))));
}

// For the script that writes the settings: the Redis password that MISP shall use.
function topic_redis_password($in)
{
    return wanted_place($in)["redis_password"];
}

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
    $ours = '/^' . preg_quote($namespace, "/") . ':(job_status:|running:|data_content:|' . MOVED . '|' . MOVING . '|(' . ASIDE . ')?(' . implode("|", QUEUES) . ')$)/';
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

// What of MISP's own place is to become another: MISP's command line sets one thing after the other, so a
// job may go to what is neither the old place nor the new one. Not to a server that does not answer.
function differing($stored, $wanted)
{
    if ($stored === null) {
        return array();
    }
    $between = array("redis_host" => $wanted["redis_host"]) + $stored;
    $is_one_step = is_same_server($between, $stored) || is_same_server($between, $wanted) || unfitness($between) !== null;
    return array_keys(array_filter(array(
        "host" => !$is_one_step,
        "port" => !$is_one_step,
        "server" => $is_one_step && !is_same_server($stored, $wanted),
        "database" => (int)$stored["redis_database"] !== (int)$wanted["redis_database"],
        "namespace" => $stored["redis_namespace"] !== $wanted["redis_namespace"],
    )));
}

// Whether it is that Redis under another name, or by its socket.
function is_same_redis($redis, $place)
{
    try {
        $other = connect($place["redis_host"], $place["redis_port"], $place["redis_password"], $place["redis_database"]);
        $ids = array(@$redis->info("server"), @$other->info("server"));
        return isset($ids[0]["run_id"], $ids[1]["run_id"]) && $ids[0]["run_id"] === $ids[1]["run_id"];
    } catch (Exception $error) {
        return false;
    }
}

// What becomes another about where the queues are: `former` are places where jobs may wait that the workers
// shall leave, `unfit` those of them that cannot be used; `is_new` says that the wanted one has never been
// MISP's, as far as this host knows, `is_shared` that its database has; and see differing.
function change_of_place($in, $redis)
{
    $wanted = wanted_place($in);
    $former = former_places($in);
    $known_here = array_filter($former, function ($place) use ($redis, $wanted) {
        return (int)$place["redis_database"] === (int)$wanted["redis_database"] && is_same_redis($redis, $place);
    });
    $reasons = array_map("unfitness", $former);
    return array(
        "former" => array_map("shown_place", $former),
        "unfit" => array_map(function ($place, $reason) {
            return shown_place($place) . ": $reason";
        }, array_intersect_key($former, array_filter($reasons)), array_filter($reasons)),
        "is_new" => $former && !is_among($wanted, known_places($in), "is_same_place")
            && !in_array($wanted["redis_namespace"], array_column($known_here, "redis_namespace"), true),
        "is_shared" => (bool)$known_here,
        "differing" => differing(stored_place($in), $wanted),
    );
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
    ) + change_of_place($in, $redis);
}
