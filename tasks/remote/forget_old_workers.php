// Takes out of Redis what dead old workers of this host left there. Comes behind resque.php; runs as
// the web user. Input on standard input: {"root", "desired"}.
$at = legacy_redis(json_decode(stream_get_contents(STDIN), true)["root"]);
if ($at === null) {
    exit(0);
}
$redis = connect($at["host"], $at["port"], $at["password"], $at["database"]);
$prefix = $at["namespace"] . ":";
foreach (stale_legacy($redis, $prefix) as $key => $members) {
    foreach ($members as $member) {
        switch (substr($key, strrpos(":$key", ":"))) {
            case "workers":
                $redis->del("{$prefix}worker:$member", "{$prefix}worker:$member:started");
                $redis->hDel("{$prefix}workerLogger", $member);
                $redis->sRem($key, $member);
                break;
            case "PausedWorker":
                $redis->sRem($key, $member);
                break;
            case "ResqueWorker":
                $redis->hDel($key, $member);
                break;
            default: // ResqueSchedulerWorker holds one PID
                $redis->del($key);
        }
    }
}
