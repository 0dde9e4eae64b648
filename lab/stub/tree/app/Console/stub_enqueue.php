<?php
// Not in MISP: enqueues numbered jobs the way MISP would, by the backend that the configuration names.
// php stub_enqueue.php --queue Q --number N [--count K] [--sleep S] [--spawn N,QUEUE] [--fail] [--binary] [--stderr]
//     [--echo] [--note TEXT] [--delay SECONDS] [--legacy]        prints one job id a line
// php stub_enqueue.php --queue Q --number N [--count K] --data COMMAND [--legacy]
//                                                        prints one job id and digest of its data a line
require dirname(__DIR__) . '/Lib/Stub/bootstrap.php';

const VALUED = array('queue' => array(), 'number' => array(), 'count' => array(), 'sleep' => array(),
    'spawn' => array(), 'delay' => array(), 'note' => array(), 'data' => array());
const FLAGS = array('fail', 'binary', 'stderr', 'echo', 'legacy');

function enqueueOne(BackgroundJobsTool $tool, array $params, int $number): string
{
    $queue = $params['queue'] ?? 'default';
    if (isset($params['data'])) {
        return implode(' ', DataJob::enqueue($tool, $queue, $params['data'], $number));
    }
    $args = NumberedJob::arguments($params, $number);
    if (isset($params['delay'])) {
        if ($tool->enabled()) {
            throw new ConsoleException('The new backend has no delayed jobs: use --legacy.');
        }
        return CakeResque::enqueueAt(time() + (int)$params['delay'], $queue, 'AdminShell', $args, true);
    }
    return $tool->enqueue($queue, 'admin', $args);
}

try {
    list($params) = OptionParser::parse(array_slice($argv, 1),
        VALUED + array_fill_keys(FLAGS, array('flag' => true)));
    if (!isset($params['number'])) {
        throw new ConsoleException('--number is needed.');
    }
    Configure::load();
    require APP . 'Config/bootstrap.php';
    // --legacy: as a process that still has its configuration from before.
    $tool = empty($params['legacy']) ? BackgroundJobsTool::forCli() : new BackgroundJobsTool(array('enabled' => false));
    for ($i = 0; $i < (int)($params['count'] ?? 1); $i++) {
        echo enqueueOne($tool, $params, (int)$params['number'] + $i), "\n";
    }
} catch (Throwable $error) {
    fwrite(STDERR, 'Error: ' . $error->getMessage() . "\n");
    exit(1);
}
