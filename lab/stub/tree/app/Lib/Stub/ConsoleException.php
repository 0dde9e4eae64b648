<?php
declare(strict_types=1);

class ConsoleException extends RuntimeException
{
}
