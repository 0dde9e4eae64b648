// What supervisord says over its RPC, asked as MISP asks it. Comes behind misp.php.
function call_rpc($method, $in) // array(HTTP status, body or the reason why there is none)
{
    static $curl = null;
    $socket = $in["rpc_socket"];
    $curl = $curl ?: curl_init(($socket ? "http://localhost" : "http://127.0.0.1:" . $in["rpc_port"]) . "/RPC2");
    curl_setopt_array($curl, array(
        CURLOPT_POST => true,
        CURLOPT_POSTFIELDS => "<?xml version=\"1.0\"?><methodCall><methodName>$method</methodName><params/></methodCall>",
        CURLOPT_HTTPHEADER => array("Content-Type: text/xml"),
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_CONNECTTIMEOUT => 3,
        CURLOPT_TIMEOUT => 10,
        CURLOPT_PROXY => "", // a proxy from the environment must not answer for the loopback
    ));
    if ($socket) {
        curl_setopt($curl, CURLOPT_UNIX_SOCKET_PATH, $socket);
    } else {
        curl_setopt($curl, CURLOPT_USERPWD, $in["rpc_user"] . ":" . supervisor_password($in));
    }
    $body = curl_exec($curl);
    return array(curl_getinfo($curl, CURLINFO_HTTP_CODE), $body === false ? curl_error($curl) : $body);
}

// "200 PID", "401", or "0 REASON".
function topic_rpc($in)
{
    list($status, $body) = call_rpc("supervisor.getPID", $in);
    if ($status === 200 && preg_match('~<int>(\d+)</int>~', $body, $match)) {
        return "200 " . $match[1];
    }
    return $status === 0 ? "0 $body" : (string)$status;
}

// What `supervisorctl status` would print; nothing where there is no program.
function topic_status($in)
{
    list($status, $body) = call_rpc("supervisor.getAllProcessInfo", $in);
    if ($status !== 200 || !function_exists("simplexml_load_string")) {
        throw new Exception("no answer that can be read");
    }
    $lines = array();
    foreach (simplexml_load_string($body)->xpath("//struct") as $struct) {
        $process = array();
        foreach ($struct->member as $member) {
            $process[(string)$member->name] = (string)$member->value->string;
        }
        $is_alone = $process["group"] === $process["name"];
        $name = $is_alone ? $process["name"] : $process["group"] . ":" . $process["name"];
        $lines[] = $name . " " . $process["statename"] . " " . $process["description"];
    }
    return $lines;
}
