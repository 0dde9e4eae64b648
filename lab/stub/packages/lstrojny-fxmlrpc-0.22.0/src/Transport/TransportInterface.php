<?php
namespace fXmlRpc\Transport;

interface TransportInterface
{
    public function send($endpoint, $payload);
}
