<?php
// Loaded once by a worker when it starts: from here on its configuration does not change any more.
require dirname(__DIR__, 3) . '/Lib/Stub/bootstrap.php';

Configure::load();
require APP . 'Config/bootstrap.php';
