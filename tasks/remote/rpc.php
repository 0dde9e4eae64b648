// Asks supervisord's RPC who it is, as MISP would. Input: {"host","port","user","password","socket"}
// on standard input. Output: "200 PID", "401", or "0 REASON". Runs as the web user.
$in = json_decode(stream_get_contents(STDIN), true);
$curl = curl_init(($in["socket"] ? "http://localhost" : "http://{$in['host']}:{$in['port']}") . "/RPC2");
curl_setopt_array($curl, array(
    CURLOPT_POST => true,
    CURLOPT_POSTFIELDS => '<?xml version="1.0"?><methodCall><methodName>supervisor.getPID</methodName><params/></methodCall>',
    CURLOPT_HTTPHEADER => array("Content-Type: text/xml"),
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_CONNECTTIMEOUT => 3,
    CURLOPT_TIMEOUT => 10,
    CURLOPT_PROXY => "", // a proxy from the environment must not answer for the loopback
));
if ($in["socket"]) {
    curl_setopt($curl, CURLOPT_UNIX_SOCKET_PATH, $in["socket"]);
} else {
    curl_setopt($curl, CURLOPT_USERPWD, $in["user"] . ":" . $in["password"]);
}
$body = curl_exec($curl);
$status = curl_getinfo($curl, CURLINFO_HTTP_CODE);
if ($body === false) {
    echo "0 " . curl_error($curl);
} elseif ($status === 200 && preg_match('~<int>(\d+)</int>~', $body, $match)) {
    echo "200 " . $match[1];
} else {
    echo $status;
}
