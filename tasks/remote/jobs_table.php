// MISP's table `jobs`, whose rows name a job's id in Redis: function for convert_jobs.php.

function open_database($root)
{
    ob_start();
    require "$root/app/Config/database.php";
    ob_end_clean();
    $at = (new DATABASE_CONFIG())->default;
    foreach (array("Mysql" => "mysql", "Postgres" => "pgsql") as $name => $driver) { // also MysqlObserver
        if (strpos($at["datasource"], $name) !== false) {
            $socket = empty($at["unix_socket"]) ? "" : ";unix_socket={$at['unix_socket']}";
            $port = empty($at["port"]) ? "" : ";port={$at['port']}";
            return new PDO("$driver:host={$at['host']}$port$socket;dbname={$at['database']}", $at["login"], $at["password"],
                array(PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_TIMEOUT => 5));
        }
    }
    throw new Exception("datasource {$at['datasource']} is neither MySQL nor PostgreSQL");
}

// New ids by old ones. MISP's page of jobs finds a job's state by its id; jobs run without it.
function rename_jobs($root, $names)
{
    try {
        $database = open_database($root);
        $set = $database->prepare("UPDATE jobs SET process_id = ? WHERE id = ?");
        foreach (array_chunk(array_keys($names), 500) as $some) { // process_id has no index
            $marks = implode(",", array_fill(0, count($some), "?"));
            $rows = $database->prepare("SELECT id, process_id FROM jobs WHERE process_id IN ($marks)");
            $rows->execute($some);
            foreach ($rows->fetchAll(PDO::FETCH_NUM) as list($row, $old)) {
                $set->execute(array($names[$old], $row));
            }
        }
    } catch (Throwable $error) {
        $reason = str_replace("\n", " ", $error->getMessage());
        echo "MISP's page of jobs will not know the state of converted jobs, as its database cannot be used: $reason\n";
    }
}
