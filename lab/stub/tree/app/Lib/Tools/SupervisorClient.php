<?php
declare(strict_types=1);

/** supervisord over XML-RPC, through the classes that Composer installs. */
final class SupervisorClient
{
    /** Fixed in MISP: the group has exactly this name, and its processes are called QUEUE_NN. */
    const GROUP = 'misp-workers';

    private \Supervisor\Supervisor $client;

    public function __construct(array $settings)
    {
        if (!isset($settings['supervisor_host'])) {
            throw new RuntimeException('Required option `supervisor_host` for BackgroundJobsTool is not set.');
        }
        $options = $this->authentication($settings);
        $host = $settings['supervisor_host'];
        if (strncmp($host, 'unix:', 5) === 0) {
            if (!defined('CURLOPT_UNIX_SOCKET_PATH')) {
                throw new RuntimeException('For unix socket connection, cURL is required.');
            }
            $options['curl'] = array(CURLOPT_UNIX_SOCKET_PATH => substr($host, 5));
            $host = 'localhost';
        }
        // A class that is not there is an Error, which the callers' catch of Exception does not stop: HTTP 500.
        $http = new GuzzleHttp\Client($options);
        $this->client = new Supervisor\Supervisor(new fXmlRpc\Client(
            sprintf('http://%s:%s/RPC2', $host, $settings['supervisor_port']),
            new fXmlRpc\Transport\HttpAdapterTransport(new Http\Message\MessageFactory\GuzzleMessageFactory(), $http)
        ));
    }

    /** Basic authentication only if user *and* password are set. */
    private function authentication(array $settings): array
    {
        if (empty($settings['supervisor_user']) || empty($settings['supervisor_password'])) {
            return array();
        }
        return array('auth' => array($settings['supervisor_user'], $settings['supervisor_password']));
    }

    public function isRunning(): bool
    {
        return $this->client->getState()['statecode'] === Supervisor\Supervisor::RUNNING;
    }

    /** @return array[] name, queue, pid, running */
    public function processes(): array
    {
        $found = array();
        foreach ($this->client->getAllProcessInfo() as $info) {
            if ($info['group'] === self::GROUP) {
                $found[] = array('name' => $info['name'], 'queue' => explode('_', $info['name'])[0],
                    'pid' => (int)$info['pid'], 'running' => $info['state'] === Supervisor\Process::RUNNING);
            }
        }
        return $found;
    }

    /** @return Worker[] those that run; others simply are not in the list */
    public function workers(): array
    {
        $workers = array();
        foreach ($this->processes() as $process) {
            if ($process['running']) {
                $user = WorkerDiagnostics::userOf($process['pid']);
                $workers[] = new Worker($process['pid'], $process['queue'], $user);
            }
        }
        return $workers;
    }

    /** Says nothing when there was nothing to start. */
    public function startOne(string $queue): void
    {
        foreach ($this->processes() as $process) {
            if ($process['queue'] === $queue && !$process['running']) {
                $this->client->startProcess(self::GROUP . ':' . $process['name'], false);
                return;
            }
        }
    }

    public function stop(string $pidOrName): bool
    {
        foreach ($this->processes() as $process) {
            if ((string)$process['pid'] === $pidOrName || $process['name'] === $pidOrName) {
                $this->client->stopProcess(self::GROUP . ':' . $process['name'], false);
                return true;
            }
        }
        return false;
    }

    /** Two calls that do not wait for each other: some workers stay STOPPED, as with MISP's button. */
    public function restartAll(): void
    {
        $this->client->stopProcessGroup(self::GROUP, false);
        $this->client->startProcessGroup(self::GROUP, false);
    }

    public function startDead(): void
    {
        $this->client->startProcessGroup(self::GROUP, false);
    }
}
