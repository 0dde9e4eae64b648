// Every job of the old backend that no worker has taken yet, for the copy that is kept before a
// conversion: {"taken", "namespace", "lists": {"queue:NAME" or "_schdlr_:EPOCH": [record, ...]}}.
// Comes behind jobs.php; runs as the web user. Input on standard input: {"root", "desired", "redis_place"}.
list($redis, $prefix) = old_backend(json_decode(stream_get_contents(STDIN), true));
$copy = array("taken" => gmdate("c"), "namespace" => rtrim($prefix, ":"), "lists" => (object)old_lists($redis, $prefix));
$text = json_encode($copy, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES);
if ($text === false) {
    stop("the old backend's lists cannot be copied as JSON: " . json_last_error_msg());
}
echo "$text\n";
