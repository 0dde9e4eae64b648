// Where MISP's queues shall be, are and were, as a Redis server, database and namespace.
// Comes behind misp.php.

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
    return "{$at["redis_host"]}:{$at["redis_port"]}, database {$at["redis_database"]}, namespace " . ($at["redis_namespace"] === "" ? "(none)" : $at["redis_namespace"]);
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
    if (empty($block["enabled"])) {
        return null;
    }
    // Without a namespace MISP's keys begin with the colon behind it.
    $namespace = isset($block["redis_namespace"]) ? (string)$block["redis_namespace"] : "";
    return array("redis_namespace" => $namespace) + wanted_redis(array(), $block, block_of($config, "MISP"));
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
