<?php
declare(strict_types=1);

/** An answer with an error status, in the shape that CakePHP gives it. */
class HttpError extends RuntimeException
{
}
