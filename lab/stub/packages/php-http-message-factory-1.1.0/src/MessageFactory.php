<?php
namespace Http\Message;

interface MessageFactory
{
    public function createRequest($method, $uri, array $headers = array(), $body = null);
}
