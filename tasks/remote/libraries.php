// Are the PHP libraries that MISP's supervisor client needs there, and of a version that works? Comes
// behind misp.php; to be asked last, since a class file with a fatal error ends PHP.
function topic_class($in) // "NAME yes" or "NAME no" of each
{
    $autoload = $in["root"] . "/app/Vendor/autoload.php";
    if (is_readable($autoload)) {
        require $autoload;
    }
    $lines = array();
    foreach (array("Supervisor\\Supervisor", "fXmlRpc\\Client", "fXmlRpc\\Transport\\HttpAdapterTransport",
        "GuzzleHttp\\Client", "Http\\Message\\MessageFactory\\GuzzleMessageFactory") as $class) {
        try {
            $found = class_exists($class);
        } catch (Throwable $error) { // its interface is in a package that is missing
            $found = false;
        }
        $lines[] = "$class " . ($found ? "yes" : "no");
    }
    // supervisorphp 5.1 dropped the constants that MISP uses (MISP issues 10006, 10408).
    $lines[] = "Supervisor\\Process::RUNNING " . (defined("Supervisor\\Process::RUNNING") ? "yes" : "no");
    return $lines;
}

function topic_libraries($in) // that the one before came to its end
{
    return "done";
}
