<?php
// The run at the end takes the *global* $argv, as MISP's cake.php does: a caller that sets $argv itself and then
// requires this file from app/Console runs a command whose arguments never were arguments of a process.
require dirname(__DIR__) . '/Lib/Stub/bootstrap.php';

return ShellDispatcher::run($argv);
