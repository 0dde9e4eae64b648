// Freezes those of the new backend's workers that wait for a job, so that they can be stopped without
// one in their hands: a worker has no signal handler, and takes a job (BLPOP) some milliseconds before
// it starts it (StartWorkerShell.php). Comes behind jobs.php; runs as the web user. Input on standard
// input: {"root", "desired", "pids": [PID, ...]}. Prints the PIDs that are frozen (SIGSTOP); the others
// have a job, or may have, and go on.
//
// CLIENT UNBLOCK (Redis 5) tells: it succeeds only where Redis had given the worker nothing, and a
// frozen worker asks for nothing more.

function process($pid) // its state and its parent's PID
{
    $stat = (string)@file_get_contents("/proc/$pid/stat");
    return explode(" ", substr($stat, strrpos($stat, ")") + 2)) + array("", "");
}

function is_frozen($pid) // within a tenth of a second
{
    for ($tries = 0; $tries < 100 && file_exists("/proc/$pid"); $tries++) {
        if (process($pid)[0] === "T") {
            return true;
        }
        usleep(1000);
    }
    return false;
}

function freeze($pids) // those without a job that runs already, which is a child (BackgroundJob.php)
{
    foreach ($pids as $pid) {
        posix_kill($pid, SIGSTOP);
    }
    $frozen = array_filter($pids, "is_frozen");
    $parents = array_map(function ($directory) { return (int)process(basename($directory))[1]; },
        glob("/proc/[0-9]*", GLOB_ONLYDIR));
    return array_diff($frozen, $parents);
}

function local_ports($pid) // of its TCP connections
{
    $sockets = array();
    foreach (glob("/proc/$pid/fd/*") as $descriptor) {
        if (preg_match('/^socket:\[(\d+)\]$/', (string)@readlink($descriptor), $found)) {
            $sockets[$found[1]] = true;
        }
    }
    $ports = array();
    foreach (array("tcp", "tcp6") as $table) {
        foreach (@file("/proc/net/$table") ?: array() as $line) {
            $fields = preg_split('/\s+/', trim($line));
            if (isset($fields[9], $sockets[$fields[9]])) {
                $ports[] = hexdec(substr($fields[1], strrpos($fields[1], ":") + 1));
            }
        }
    }
    return $ports;
}

function unblock($redis, $client) // null: this Redis cannot tell
{
    $result = @$redis->rawCommand("CLIENT", "UNBLOCK", $client["id"]);
    return $result === false ? null : $result === 1;
}

// Whether a frozen worker has no job. Where Redis does not know its connection (it has none yet, or
// there is something between the two) or cannot tell, it has to do that it has no child.
function is_idle($redis, $clients, $pid)
{
    $ports = local_ports($pid);
    $own = array_filter($clients, function ($client) use ($ports) {
        return in_array((int)substr($client["addr"], strrpos($client["addr"], ":") + 1), $ports, true);
    });
    foreach ($own as $client) {
        if ($client["cmd"] === "blpop" && unblock($redis, $client) !== false) {
            return true;
        }
    }
    return $own === array();
}

// Through a socket file no client can be told from another: all of them have to be waiting.
function are_idle($redis, $clients, $database, $pids)
{
    $waiting = array_filter($clients, function ($client) use ($database) {
        return $client["cmd"] === "blpop" && (int)$client["db"] === $database;
    });
    $results = array_map(function ($client) use ($redis) { return unblock($redis, $client); }, $waiting);
    return count($waiting) === count($pids) && !in_array(false, $results, true);
}

function idle_ones($in, $frozen)
{
    try {
        list($redis, , $at) = new_backend($in);
        $clients = @$redis->client("list");
    } catch (Throwable $error) {
        $clients = false; // a Redis that does not answer gives nobody a job
    }
    if (!is_array($clients)) {
        return $frozen;
    }
    if (substr($at["redis_host"], 0, 1) === "/") {
        return are_idle($redis, $clients, $at["redis_database"], $frozen) ? $frozen : array();
    }
    return array_filter($frozen, function ($pid) use ($redis, $clients) { return is_idle($redis, $clients, $pid); });
}

$in = json_decode(stream_get_contents(STDIN), true);
$idle = idle_ones($in, freeze($in["pids"]));
foreach (array_diff($in["pids"], $idle) as $pid) {
    posix_kill($pid, SIGCONT);
}
echo implode(" ", $idle);
