<?php
// modify_config.php modify JSON: deep-merge JSON into app/Config/config.php, types kept, all keys in one write, and
// print the *old* configuration as JSON. No validation, and it knows nothing of settings stored in the database.
if ($argc !== 3 || $argv[1] !== 'modify') {
    fwrite(STDERR, "Usage: php modify_config.php modify JSON\n");
    exit(1);
}
$file = dirname(__DIR__) . '/app/Config/config.php';
require $file;
$change = json_decode($argv[2], true, 512, JSON_THROW_ON_ERROR);
$merged = array_replace_recursive($config, $change);
file_put_contents($file, "<?php\n\$config = " . var_export($merged, true) . ";\n", LOCK_EX);
echo json_encode($config), PHP_EOL;
