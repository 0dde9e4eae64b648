// Comes behind misp.php. Input on standard input: {"topic", "root", "desired": {key: value},
// "supervisor_password"}. Prints one line of JSON that holds no secret, or, for the two topics that
// ask for one, the bare value, which goes into a shell variable on the host and nowhere else.
$in = json_decode(stream_get_contents(STDIN), true);
try {
    $answer = call_user_func("topic_" . $in["topic"], $in);
} catch (Throwable $error) {
    // A topic that answers with a secret goes into a shell variable: nothing else may get there.
    $is_secret = in_array($in["topic"], array("password", "redis_password"), true);
    $answer = $is_secret ? "" : array("error" => str_replace("\n", " ", $error->getMessage()));
}
if (is_string($answer)) {
    echo $answer;
} elseif (is_array($answer)) {
    echo json_encode($answer, JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR), "\n";
}
