// Where MISP's queues shall be and are, as a Redis server, database and namespace.
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

// Where jobs of the new backend are: what MISP has while it uses that, then what a way back has
// remembered of it (see remember_place), then what it will have.
function place_in_use($in)
{
    $wanted = wanted_place($in);
    $place = stored_place($in) ?: (isset($in["redis_place"]) ? $in["redis_place"] : $wanted);
    $has_new_password = isset($in["desired"]["redis_password"]) && is_same_server($place, $wanted);
    return $has_new_password ? array("redis_password" => $wanted["redis_password"]) + $place : $place;
}

function topic_place($in) // for the way back, which switches the new backend off; holds the password
{
    return json_encode(place_in_use($in));
}
