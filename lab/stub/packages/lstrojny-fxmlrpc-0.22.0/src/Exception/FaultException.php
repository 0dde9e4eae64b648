<?php
namespace fXmlRpc\Exception;

class FaultException extends \RuntimeException
{
}
