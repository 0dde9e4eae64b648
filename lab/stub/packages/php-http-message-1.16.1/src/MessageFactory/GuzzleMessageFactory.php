<?php
namespace Http\Message\MessageFactory;

use Http\Message\MessageFactory;

if (!interface_exists(MessageFactory::class)) {
    throw new \LogicException('You cannot use "Http\Message\MessageFactory\GuzzleMessageFactory" as the '
        . '"php-http/message-factory" package is not installed. Try running "composer require php-http/message-factory".');
}

class GuzzleMessageFactory implements MessageFactory
{
    public function createRequest($method, $uri, array $headers = array(), $body = null)
    {
        return array('method' => $method, 'uri' => (string)$uri, 'headers' => $headers, 'body' => (string)$body);
    }
}
