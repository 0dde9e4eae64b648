# The floor: what any tool has to ask a converged host, in one go, as root on standard input of sh.
# One composite probe (packages, files, units, processes, and PHP once for the libraries, MISP's
# settings, supervisord's RPC and the old queues) and one call of MISP's own CLI. It judges nothing.
# The variables come in front of this text.
# shellcheck shell=sh disable=SC2154

as_web_user() {
    setpriv --reuid "$web_user" --regid "$web_user" --init-groups -- "$@"
}

cat /etc/os-release
case $family in
    debian) dpkg-query -W supervisor ;;
    rhel) rpm -q supervisor ;;
esac
stat -c '%n %U:%G %a' /var/log/misp-workers "$misp_root/app/Config/config.php"
sha256sum "$include_dir"/*misp*
systemctl is-active "$supervisor_unit" "$legacy_unit"
systemctl is-enabled "$supervisor_unit" "$legacy_unit"
ps -e -o user:32=,etimes=,args=
# shellcheck disable=SC2016  # PHP's variables
as_web_user php -r '
    require "$argv[1]/app/Vendor/autoload.php";
    class_exists("Supervisor\\Supervisor") || exit(1);
    require "$argv[1]/app/Config/config.php";
    $block = $config["SimpleBackgroundJobs"];
    $login = base64_encode($block["supervisor_user"] . ":" . $block["supervisor_password"]);
    unset($block["supervisor_password"], $block["redis_password"]);
    echo json_encode($block), "\n";
    echo file_get_contents("http://127.0.0.1:{$block["supervisor_port"]}/RPC2", false, stream_context_create(array(
        "http" => array("method" => "POST", "header" => "Content-Type: text/xml\r\nAuthorization: Basic $login",
            "content" => "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName>"
                . "<params/></methodCall>"))));
    require "$argv[1]/app/Plugin/CakeResque/Config/config.php";
    $at = $config["CakeResque"]["Redis"];
    $redis = new Redis();
    $redis->connect($at["host"], $at["port"], 5.0);
    empty($at["password"]) || $redis->auth($at["password"]);
    $redis->select($at["database"]);
    foreach ($redis->sMembers("{$at["namespace"]}:queues") as $queue) {
        echo $queue, " ", $redis->lLen("{$at["namespace"]}:queue:$queue"), "\n";
    }
' -- "$misp_root"
printf '%s\n' "$marker"
as_web_user "$misp_root/app/Console/cake" Admin getWorkers
