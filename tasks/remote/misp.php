// What MISP's configuration says: functions for ask.php, canary.php and the scripts that move jobs, which
// have places.php and redis.php behind it.
// They run as the web user and load none of MISP's code but its configuration files.
// Syntax is that of PHP 7.0, so that an old PHP can be told that it is too old.

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
