// Sets MISP's settings through MISP's own CLI, each in a process of its own, without a value ever
// being an argument of a process. Input on standard input: {"settings": [[name, value], ...],
// "supervisor_password", "redis_password"}; the value {"secret": KEY} stands for one of the latter.
// Runs as the web user in app/Console. MISP repeats the value on standard output: nobody reads it.
$in = json_decode(stream_get_contents(STDIN), true);
$one = '$argv = array_merge(array("cake.php", "-working", dirname(getcwd())), json_decode(stream_get_contents(STDIN), true));'
    . ' $_SERVER["argv"] = $argv; $_SERVER["argc"] = $argc = count($argv); require "cake.php";';
foreach ($in["settings"] as list($name, $value)) {
    $is_secret = is_array($value);
    $text = $is_secret ? $in[$value["secret"]] : (is_bool($value) ? ($value ? "true" : "false") : (string)$value);
    $arguments = array("Admin", "setSetting", $name, $text);
    $process = proc_open(
        array("php", "-q", "-r", $one),
        array(array("pipe", "r"), array("file", "/dev/null", "w"), array("pipe", "w")),
        $pipes
    );
    fwrite($pipes[0], json_encode($arguments));
    fclose($pipes[0]);
    $errors = stream_get_contents($pipes[2]);
    $status = proc_close($process);
    if ($status !== 0) {
        $shown = $is_secret ? "(MISP's answer is not shown: it may hold the value)" : trim($errors);
        fwrite(STDERR, "setSetting $name: exit status $status: $shown\n");
        exit(1);
    }
}
