<?php
namespace fXmlRpc;

interface ClientInterface
{
    public function call($methodName, array $params = array());
}
