// Are the PHP libraries that MISP's supervisor client needs there, and of a version that works?
// Runs as the web user; argument: MISP's root. Prints "class<TAB>NAME yes|no" lines.
$autoload = $argv[1] . "/app/Vendor/autoload.php";
if (is_readable($autoload)) {
    require $autoload;
}
foreach (array("Supervisor\\Supervisor", "fXmlRpc\\Client", "fXmlRpc\\Transport\\HttpAdapterTransport",
    "GuzzleHttp\\Client", "Http\\Message\\MessageFactory\\GuzzleMessageFactory") as $class) {
    try {
        $found = class_exists($class);
    } catch (Throwable $error) { // its interface is in a package that is missing
        $found = false;
    }
    echo "class\t$class ", $found ? "yes" : "no", "\n";
}
// supervisorphp 5.1 dropped the constants that MISP uses (MISP issues 10006, 10408).
echo "class\tSupervisor\\Process::RUNNING ", defined("Supervisor\\Process::RUNNING") ? "yes" : "no", "\n";
echo "libraries\tdone\n"; // a class file with a fatal error ends the script before this
