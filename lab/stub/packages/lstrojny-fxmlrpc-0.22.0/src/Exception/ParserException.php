<?php
namespace fXmlRpc\Exception;

class ParserException extends \RuntimeException
{
}
