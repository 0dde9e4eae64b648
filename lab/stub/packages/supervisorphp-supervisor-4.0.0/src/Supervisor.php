<?php
namespace Supervisor;

use fXmlRpc\ClientInterface;

/**
 * @method array getState()
 * @method array getAllProcessInfo()
 */
class Supervisor
{
    const SHUTDOWN = -1;
    const RESTARTING = 0;
    const RUNNING = 1;
    const FATAL = 2;

    private $client;

    public function __construct(ClientInterface $client)
    {
        $this->client = $client;
    }

    public function __call($method, $arguments)
    {
        return $this->client->call('supervisor.' . $method, $arguments);
    }
}
