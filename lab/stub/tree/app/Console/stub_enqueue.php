<?php
// Not in MISP: enqueues numbered jobs the way MISP would, by the backend that the configuration names.
// php stub_enqueue.php --queue Q --number N [--count K] [--sleep S] [--spawn N,QUEUE] [--fail] [--binary] [--stderr]
//     [--echo] [--delay SECONDS] [--legacy]        prints one job id a line
require dirname(__DIR__) . '/Lib/Stub/bootstrap.php';

const VALUED = array('queue' => array(), 'number' => array(), 'count' => array(), 'sleep' => array(),
    'spawn' => array(), 'delay' => array());
const FLAGS = array('fail', 'binary', 'stderr', 'echo', 'legacy');

function enqueueOne(BackgroundJobsTool $tool, array $params, int $number): string
{
    $queue = $params['queue'] ?? 'default';
    $args = NumberedJob::arguments($params, $number);
    $legacy = !empty($params['legacy']) || !$tool->enabled();
    if (isset($params['delay'])) {
        if (!$legacy) {
            throw new ConsoleException('The new backend has no delayed jobs: use --legacy.');
        }
        return CakeResque::enqueueAt(time() + (int)$params['delay'], $queue, 'AdminShell', $args, true);
    }
    return $legacy ? CakeResque::enqueue($queue, 'AdminShell', $args, true) : $tool->enqueue($queue, 'admin', $args);
}

try {
    list($params) = OptionParser::parse(array_slice($argv, 1),
        VALUED + array_fill_keys(FLAGS, array('flag' => true)));
    if (!isset($params['number'])) {
        throw new ConsoleException('--number is needed.');
    }
    Configure::load();
    require APP . 'Config/bootstrap.php';
    $tool = BackgroundJobsTool::forCli();
    for ($i = 0; $i < (int)($params['count'] ?? 1); $i++) {
        echo enqueueOne($tool, $params, (int)$params['number'] + $i), "\n";
    }
} catch (Throwable $error) {
    fwrite(STDERR, 'Error: ' . $error->getMessage() . "\n");
    exit(1);
}
