<?php
require dirname(__DIR__) . '/Lib/Stub/bootstrap.php';

FrontController::handle();
