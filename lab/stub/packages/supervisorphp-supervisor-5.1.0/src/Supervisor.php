<?php
namespace Supervisor;

use fXmlRpc\ClientInterface;

/**
 * @method array getState()
 * @method array getAllProcessInfo()
 */
class Supervisor
{

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
