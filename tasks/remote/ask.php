// Comes behind misp.php. Input on standard input: {"topics": "A B", "root", "desired": {key: value},
// "supervisor_password"}. Prints TOPIC<TAB>JSON for each. It holds no secret, but for the two topics
// that ask for one: these give the bare value, which goes into a shell variable on the host and
// nowhere else.
function answer($topic, $in)
{
    try {
        return call_user_func("topic_" . $topic, $in);
    } catch (Throwable $error) {
        $is_secret = in_array($topic, array("password", "redis_password"), true);
        return $is_secret ? "" : array("error" => str_replace("\n", " ", $error->getMessage()));
    }
}

$in = json_decode(stream_get_contents(STDIN), true);
$topics = explode(" ", $in["topics"]);
foreach ($topics as $topic) {
    $answer = answer($topic, $in);
    echo is_string($answer) ? $answer : "$topic\t" . json_encode($answer, JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR) . "\n";
}
