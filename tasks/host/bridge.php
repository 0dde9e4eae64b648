// The only PHP of the migration. It runs as the web user and answers what only PHP can tell: MISP's
// configuration, whether classes load, Redis and the database as MISP reaches them, a command of its CLI.
// Question and answer are a line of JSON each. Texts of Redis travel as base64: they may be no UTF-8.
// The syntax is that of PHP 7.0, so that an old PHP can be told that it is too old.

// An included file's $config, or an Exception that says what is wrong with it.
function load_config($file)
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

function block_of($config, $name)
{
    return isset($config[$name]) && is_array($config[$name]) ? $config[$name] : array();
}

// What the PHP that runs this is, may and sees: the command line's, or PHP-FPM's.
function do_php($in)
{
    return array("version" => PHP_VERSION, "extensions" => get_loaded_extensions(), "proc" => @file_exists("/proc/self"),
        "disabled" => (string)ini_get("disable_functions"), "basedir" => (string)ini_get("open_basedir"),
        "timeout" => (float)ini_get("default_socket_timeout"), "files" => php_ini_loaded_file() . "," . php_ini_scanned_files());
}

// MISP's settings, as far as they matter here.
function do_config($in)
{
    $config = load_config($in["root"] . "/app/Config/config.php");
    $keys = array("redis_host", "redis_port", "redis_password", "system_setting_db", "background_jobs");
    return array("block" => (object)block_of($config, "SimpleBackgroundJobs"),
        "misp" => (object)array_intersect_key(block_of($config, "MISP"), array_flip($keys)),
        "encrypted" => !empty(block_of($config, "Security")["encryption_key"]));
}

class App // MISP's CakeResque configuration asks it where the plugin is (INSTALL/setup/config.php)
{
    public static function pluginPath($plugin) { return APP . "Plugin/$plugin/"; }
    public static function __callStatic($name, $arguments) { return ""; }
}

class Configure // CakeResque's configuration may ask it for things; nothing that matters here
{
    public static function __callStatic($name, $arguments) { return null; }
}

// Where the old backend's Redis is; null: there is no CakeResque.
function do_resque($in)
{
    $root = $in["root"];
    $file = "$root/app/Plugin/CakeResque/Config/config.php";
    if (!file_exists($file)) {
        return null;
    }
    foreach (array("DS" => "/", "ROOT" => $root, "APP" => "$root/app/", "TMP" => "$root/app/tmp/",
        "LOGS" => "$root/app/tmp/logs/", "VENDORS" => "$root/vendors/") as $name => $value) {
        defined($name) || define($name, $value);
    }
    return (object)(block_of(block_of(load_config($file), "CakeResque"), "Redis") + array("host" => "127.0.0.1",
        "port" => 6379, "database" => 0, "namespace" => "resque", "password" => null));
}

function redis_at($at)
{
    static $connections = array();
    $key = json_encode($at);
    if (isset($connections[$key])) {
        return $connections[$key];
    }
    $redis = new Redis();
    if (!@$redis->connect($at["host"], (int)$at["port"], 5.0)) {
        throw new Exception("no connection");
    }
    $redis->setOption(Redis::OPT_READ_TIMEOUT, 10);
    if ((string)$at["password"] !== "") {
        try {
            $redis->auth($at["password"]);
        } catch (RedisException $error) { // WRONGPASS, or a password where Redis has none
            throw new Exception("the password is refused (" . $error->getMessage() . ")");
        }
    }
    if (!$redis->select((int)$at["database"]) || !$redis->ping()) {
        throw new Exception("database {$at["database"]} refused: " . $redis->getLastError());
    }
    return $connections[$key] = $redis;
}

function as_base64($reply)
{
    if (is_array($reply)) {
        return array_map("as_base64", array_values($reply));
    }
    $reply = $reply === true ? "OK" : $reply;
    return is_string($reply) ? array("text" => base64_encode($reply)) : ($reply === false ? null : $reply);
}

// A Redis command: {"at": place, "words": [base64, ...]}. Redis's own refusal is {"refused": its words}.
function do_redis($in)
{
    $redis = redis_at($in["at"]);
    $redis->clearLastError();
    try {
        $reply = call_user_func_array(array($redis, "rawCommand"), array_map("base64_decode", $in["words"]));
    } catch (RedisException $error) {
        if ($redis->getLastError() !== $error->getMessage()) { // a lost connection, not Redis's own words
            throw $error;
        }
        $reply = false;
    }
    if ($redis->getLastError() !== null) {
        return array("refused" => $redis->getLastError());
    }
    return array("reply" => as_base64($reply));
}

// Which of the classes load; to be asked last, since a class file with a fatal error ends PHP.
function do_classes($in)
{
    $autoload = $in["root"] . "/app/Vendor/autoload.php";
    if (is_readable($autoload)) {
        require $autoload;
    }
    return array_values(array_filter($in["names"], function ($name) {
        try {
            return strpos($name, "::") ? defined($name) : class_exists($name);
        } catch (Throwable $error) { // its interface is in a package that is missing
            return false;
        }
    }));
}

// One command of MISP's CLI in a process of its own: {"status", "errors"}. cake.php ends in a run of the
// global $argv, which is read from standard input here, so no value is an argument of a process. MISP
// repeats a value on standard output: nobody reads it.
function do_cake($in)
{
    $code = '$argv = array_merge(array("cake.php", "-working", dirname(getcwd())), json_decode(stream_get_contents(STDIN), true));'
        . ' $_SERVER["argv"] = $argv; $_SERVER["argc"] = $argc = count($argv); require "cake.php";';
    $process = proc_open(array("php", "-q", "-r", $code), array(array("pipe", "r"), array("file", "/dev/null", "w"),
        array("pipe", "w")), $pipes, $in["root"] . "/app/Console");
    fwrite($pipes[0], json_encode($in["arguments"]));
    fclose($pipes[0]);
    return array("errors" => substr(stream_get_contents($pipes[2]), 0, 2000), "status" => proc_close($process));
}

function database($root)
{
    static $database = null;
    if ($database !== null) {
        return $database;
    }
    require_once "$root/app/Config/database.php";
    $at = (new DATABASE_CONFIG())->default;
    foreach (array("Mysql" => "mysql", "Postgres" => "pgsql") as $name => $driver) { // also MysqlObserver
        if (strpos($at["datasource"], $name) !== false) {
            $socket = empty($at["unix_socket"]) ? "" : ";unix_socket={$at['unix_socket']}";
            $port = empty($at["port"]) ? "" : ";port={$at['port']}";
            $options = array(PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_TIMEOUT => 5) + block_of($at, "flags");
            foreach ($driver === "mysql" ? array("ssl_key", "ssl_cert", "ssl_ca") : array() as $file) { // as CakePHP does
                $options += empty($at[$file]) ? array() : array(constant("PDO::MYSQL_ATTR_" . strtoupper($file)) => $at[$file]);
            }
            return $database = new PDO("$driver:host={$at['host']}$port$socket;dbname={$at['database']}", $at["login"],
                $at["password"], $options);
        }
    }
    throw new Exception("datasource {$at['datasource']} is neither MySQL nor PostgreSQL");
}

// A statement in MISP's database: {"sql", "values"}. Rows are lists, in the order of their columns.
function do_sql($in)
{
    $done = database($in["root"])->prepare($in["sql"]);
    $done->execute($in["values"]);
    return $done->columnCount() ? $done->fetchAll(PDO::FETCH_NUM) : array();
}

$questions = fopen(PHP_SAPI === "cli" ? "php://stdin" : "php://input", "r"); // PHP-FPM serves this as well: fpm.py
while (($line = fgets($questions)) !== false) {
    $in = json_decode($line, true);
    try {
        $answer = array("value" => call_user_func("do_" . $in["do"], $in));
    } catch (Throwable $error) {
        $answer = array("error" => str_replace("\n", " ", $error->getMessage()));
    }
    $options = JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION;
    echo json_encode($answer, $options) . "\n";
}
