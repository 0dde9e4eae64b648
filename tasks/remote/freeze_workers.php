// Freezes those of the new backend's workers that wait for a job, so that they can be stopped without
// one in their hands: a worker has no signal handler, and takes a job (BLPOP) some milliseconds before
// it starts it (StartWorkerShell.php). Comes behind jobs.php; runs as the web user. Input on standard
// input: {"root", "desired", "pids": [PID, ...]}. Prints the PIDs that are frozen (SIGSTOP); the others
// have a job, or may have, and go on.
//
// CLIENT UNBLOCK (Redis 5) tells: it succeeds only where Redis had given the worker nothing, and a
// frozen worker asks for nothing more.
//
// A worker that ends a job takes the next one at once, so it never waits where enough of them do: what
// waits is set aside for these seconds. Should this be killed, the next one takes it back.

const PATIENCE = 10.0; // seconds to wait for the first worker that ends its job
const AFTERWARDS = 1.0; // and then for further ones

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
    return array_diff($frozen, parents());
}

function parents() // PIDs of those that have a child
{
    return array_map(function ($directory) { return (int)process(basename($directory))[1]; },
        glob("/proc/[0-9]*", GLOB_ONLYDIR));
}

function thaw($pids)
{
    foreach ($pids as $pid) {
        posix_kill($pid, SIGCONT);
    }
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

function idle_ones($redis, $at, $frozen)
{
    $clients = @$redis->client("list");
    if (!is_array($clients)) {
        return $frozen;
    }
    if (substr($at["redis_host"], 0, 1) === "/") {
        return are_idle($redis, $clients, $at["redis_database"], $frozen) ? $frozen : array();
    }
    return array_filter($frozen, function ($pid) use ($redis, $clients) { return is_idle($redis, $clients, $pid); });
}

function freeze_idle_ones($in)
{
    $frozen = array();
    try {
        list($redis, $prefix, $at) = new_backend($in);
        $until = microtime(true) + PATIENCE;
        do {
            put_aside($redis, $prefix);
            $left = array_filter(array_diff($in["pids"], $frozen), function ($pid) { return file_exists("/proc/$pid"); });
            $free = array_diff($left, parents());
            $idle = $free ? idle_ones($redis, $at, freeze($free)) : array();
            thaw(array_diff($free, $idle));
            if ($idle && !$frozen) {
                $until = microtime(true) + AFTERWARDS;
            }
            $frozen = array_merge($frozen, $idle);
            usleep(20000);
        } while (count($idle) < count($left) && microtime(true) < $until);
        take_back($redis, $prefix);
    } catch (Throwable $error) { // a Redis that does not answer gives nobody a job
        $frozen = freeze($in["pids"]);
    } finally {
        thaw(array_diff($in["pids"], $frozen));
    }
    return $frozen;
}

echo implode(" ", freeze_idle_ones(json_decode(stream_get_contents(STDIN), true)));
