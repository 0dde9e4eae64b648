<?php
namespace fXmlRpc;

use fXmlRpc\Exception\FaultException;
use fXmlRpc\Transport\TransportInterface;

class Client implements ClientInterface
{
    private $uri;
    private $transport;

    public function __construct($uri, TransportInterface $transport)
    {
        $this->uri = $uri;
        $this->transport = $transport;
    }

    public function call($methodName, array $params = array())
    {
        $response = $this->transport->send($this->uri, Xml::request($methodName, $params));
        list($isFault, $value) = Xml::response($response);
        if ($isFault) {
            throw new FaultException($value['faultString'], $value['faultCode']);
        }
        return $value;
    }
}
