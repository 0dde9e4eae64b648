<?php
declare(strict_types=1);

/** Ends a command with an exit code, after its message has been printed. */
class StopException extends RuntimeException
{
}
