// Freezes those of the new backend's workers that wait for a job, so that they can be stopped without
// one in their hands: a worker has no signal handler, and takes a job (BLPOP) some milliseconds before
// it starts it (StartWorkerShell.php). Comes behind jobs.php; runs as the web user. Input on standard
// input: {"root", "desired", "pids": [PID, ...]}. Prints the PIDs that are frozen (SIGSTOP); the others
// have a job, or may have, and go on. Status 1: jobs are left aside, see below.
//
// CLIENT UNBLOCK (Redis 5) tells: it succeeds only where Redis had given the worker nothing, and a
// frozen worker asks for nothing more.
//
// A worker that ends a job takes the next one at once, so it never waits where enough of them do: what
// waits is set aside for these seconds. Only where Redis tells, since it gives what comes back to those
// that wait, be they frozen or not. Should this be killed, the next one takes the jobs back.

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

function own_clients($clients, $pid)
{
    $ports = local_ports($pid);
    return array_filter($clients, function ($client) use ($ports) {
        return in_array((int)substr($client["addr"], strrpos($client["addr"], ":") + 1), $ports, true);
    });
}

function clients($redis) // null: this Redis does not show them
{
    try {
        $clients = @$redis->client("list");
    } catch (RedisException $error) { // an ACL
        return null;
    }
    return is_array($clients) ? $clients : null;
}

function unblock($redis, $id) // whether that client was waiting; null: this Redis cannot tell
{
    try {
        $result = @$redis->rawCommand("CLIENT", "UNBLOCK", $id);
    } catch (RedisException $error) {
        return null;
    }
    return $result === false ? null : $result === 1;
}

function takes_jobs($pid) // MISP's own scheduler is in the group as well, and asks for none
{
    return strpos((string)@file_get_contents("/proc/$pid/cmdline"), "start_worker") !== false;
}

function is_socket($at)
{
    return substr($at["redis_host"], 0, 1) === "/";
}

// Whether Redis knows the connection of each worker: it has none yet when it was just started, and
// Redis sees another one where there is something between the two.
function tells_who_waits($redis, $at, $pids)
{
    $clients = clients($redis);
    if ($clients === null || unblock($redis, 0) === null) {
        return false;
    }
    return is_socket($at) || !array_filter($pids, function ($pid) use ($clients) {
        return takes_jobs($pid) && !own_clients($clients, $pid);
    });
}

// Whether a frozen worker has no job. Where Redis cannot tell it has to do that it has no child.
function is_idle($redis, $clients, $pid, $tells)
{
    $own = own_clients($clients, $pid);
    foreach ($own as $client) {
        if ($client["cmd"] === "blpop") {
            $waited = unblock($redis, $client["id"]);
            if ($waited || ($waited === null && !$tells)) {
                return true;
            }
        }
    }
    return !$own && !$tells;
}

// Through a socket file no client can be told from another: all of them have to be waiting.
function are_idle($redis, $clients, $database, $pids)
{
    $waiting = array_filter($clients, function ($client) use ($database) {
        return $client["cmd"] === "blpop" && (int)$client["db"] === $database;
    });
    $results = array_map(function ($client) use ($redis) { return unblock($redis, $client["id"]); }, $waiting);
    return count($waiting) === count($pids) && !in_array(false, $results, true);
}

function idle_ones($redis, $at, $frozen, $tells)
{
    $clients = clients($redis);
    if ($clients === null) {
        return $tells ? array() : $frozen;
    }
    $workers = array_filter($frozen, "takes_jobs");
    $others = array_diff($frozen, $workers);
    if (is_socket($at)) {
        return are_idle($redis, $clients, (int)$at["redis_database"], $workers) ? $frozen : $others;
    }
    return array_merge($others, array_filter($workers, function ($pid) use ($redis, $clients, $tells) {
        return is_idle($redis, $clients, $pid, $tells);
    }));
}

function freeze_idle_ones($redis, $prefix, $at, $pids)
{
    $tells = tells_who_waits($redis, $at, $pids) && put_aside($redis, $prefix);
    $until = microtime(true) + ($tells ? PATIENCE : 0);
    $frozen = array();
    do {
        $left = array_filter(array_diff($pids, $frozen), function ($pid) { return file_exists("/proc/$pid"); });
        $free = array_diff($left, parents());
        $idle = $free ? idle_ones($redis, $at, freeze($free), $tells) : array();
        thaw(array_diff($free, $idle));
        if ($idle && !$frozen) {
            $until = min($until, microtime(true) + AFTERWARDS);
        }
        $frozen = array_merge($frozen, $idle);
        usleep(20000);
    } while (count($idle) < count($left) && microtime(true) < $until && put_aside($redis, $prefix));
    return $frozen;
}

$in = json_decode(stream_get_contents(STDIN), true);
try {
    list($redis, $prefix, $at) = new_backend($in);
} catch (Throwable $error) { // a Redis that does not answer gives nobody a job
    $idle = freeze($in["pids"]);
    thaw(array_diff($in["pids"], $idle));
    echo implode(" ", $idle);
    exit($in["pids"] ? 0 : 1); // asked for nothing but to take jobs back, it could not
}
$frozen = array();
$status = 0;
try {
    $frozen = $in["pids"] ? freeze_idle_ones($redis, $prefix, $at, $in["pids"]) : array();
} catch (RedisException $error) { // it has gone away: nobody is idle until it is known again
    thaw($in["pids"]);
}
try {
    take_back($redis, $prefix);
} catch (RedisException $error) {
    fwrite(STDERR, "Redis does not take back the jobs that were set aside: " . $error->getMessage() . "\n");
    $status = 1;
}
echo implode(" ", $frozen);
exit($status);
