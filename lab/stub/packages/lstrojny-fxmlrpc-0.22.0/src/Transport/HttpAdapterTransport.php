<?php
namespace fXmlRpc\Transport;

use fXmlRpc\Exception\HttpException;
use fXmlRpc\Exception\TransportException;
use Http\Message\MessageFactory;

class HttpAdapterTransport implements TransportInterface
{
    private $messages;
    private $client;

    public function __construct(MessageFactory $messageFactory, $client)
    {
        $this->messages = $messageFactory;
        $this->client = $client;
    }

    public function send($endpoint, $payload)
    {
        $headers = array('Content-Type' => 'text/xml; charset=UTF-8');
        $request = $this->messages->createRequest('POST', $endpoint, $headers, $payload);
        try {
            $response = $this->client->sendRequest($request);
        } catch (\RuntimeException $exception) {
            throw new TransportException('Transport error occurred: ' . $exception->getMessage(), 0, $exception);
        }
        if ($response['status'] !== 200) {
            throw new HttpException('An HTTP error occurred: ' . $response['reason'], $response['status']);
        }
        return $response['body'];
    }
}
