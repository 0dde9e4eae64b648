<?php
namespace GuzzleHttp;

class Client
{
    private $config;

    public function __construct(array $config = array())
    {
        $this->config = $config;
    }

    /** @return array status, reason, body: an answer with an error status is an answer */
    public function sendRequest(array $request)
    {
        foreach (isset($this->config['auth']) ? array($this->config['auth']) : array() as $auth) {
            $request['headers']['Authorization'] = 'Basic ' . base64_encode($auth[0] . ':' . $auth[1]);
        }
        return extension_loaded('curl') ? $this->byCurl($request) : $this->byStream($request);
    }

    /** An HTTP proxy of the environment is used, as the real one does: an answer may then not be supervisord's. */
    private function byCurl(array $request)
    {
        $reason = '';
        $curl = curl_init($request['uri']);
        curl_setopt_array($curl, ($this->config['curl'] ?? array()) + array(
            CURLOPT_POSTFIELDS => $request['body'],
            CURLOPT_HTTPHEADER => $this->lines($request['headers']),
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT => 10,
            CURLOPT_HEADERFUNCTION => static function ($handle, $line) use (&$reason) {
                if (preg_match('{^HTTP/\S+ \d+ (.*)$}', trim($line), $match)) {
                    $reason = $match[1];
                }
                return strlen($line);
            },
        ));
        $body = curl_exec($curl);
        if ($body === false) {
            throw new \RuntimeException('cURL error ' . curl_errno($curl) . ': ' . curl_error($curl));
        }
        return array('status' => curl_getinfo($curl, CURLINFO_RESPONSE_CODE), 'reason' => $reason, 'body' => $body);
    }

    private function byStream(array $request)
    {
        $context = stream_context_create(array('http' => array(
            'method' => $request['method'], 'header' => $this->lines($request['headers']),
            'content' => $request['body'], 'ignore_errors' => true, 'timeout' => 10,
        )));
        $stream = @fopen($request['uri'], 'r', false, $context);
        if ($stream === false) {
            throw new \RuntimeException('Connection refused for URI ' . $request['uri']);
        }
        preg_match('{^HTTP/\S+ (\d+) (.*)$}', stream_get_meta_data($stream)['wrapper_data'][0], $match);
        return array('status' => (int)$match[1], 'reason' => $match[2], 'body' => stream_get_contents($stream));
    }

    private function lines(array $headers)
    {
        $lines = array();
        foreach ($headers as $name => $value) {
            $lines[] = "$name: $value";
        }
        return $lines;
    }
}
