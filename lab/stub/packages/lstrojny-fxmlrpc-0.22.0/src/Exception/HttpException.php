<?php
namespace fXmlRpc\Exception;

class HttpException extends \RuntimeException
{
}
