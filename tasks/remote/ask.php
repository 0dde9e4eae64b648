// Comes behind misp.php, rpc.php and libraries.php. Input on standard input: {"topics": "A B", "root", "desired":
// {key: value}, "redis_place", "supervisor_password" (null: MISP's own), "rpc_port", "rpc_user", "rpc_socket"}. Prints
// TOPIC<TAB>ANSWER: a text, a line for each member of a list, or JSON. No answer holds a secret, but
// those to the topics that ask for one: they go into shell variables and files of root's.
function answer($topic, $in)
{
    try {
        return call_user_func("topic_" . $topic, $in);
    } catch (Throwable $error) {
        $is_secret = in_array($topic, array("password", "redis_password", "place"), true);
        return $is_secret ? "" : array("error" => str_replace("\n", " ", $error->getMessage()));
    }
}

function lines($answer)
{
    if (is_string($answer)) {
        return array($answer);
    }
    $is_list = $answer === array_values($answer);
    return $is_list ? $answer : array(json_encode($answer, JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR));
}

$in = json_decode(stream_get_contents(STDIN), true);
foreach (explode(" ", $in["topics"]) as $topic) {
    foreach (lines(answer($topic, $in)) as $line) {
        echo "$topic\t$line\n";
    }
}
