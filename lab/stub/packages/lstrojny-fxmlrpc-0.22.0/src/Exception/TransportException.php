<?php
namespace fXmlRpc\Exception;

class TransportException extends \RuntimeException
{
}
