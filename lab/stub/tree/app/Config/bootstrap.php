<?php
// MISP loads every plugin it finds, and CakeResque with its bootstrap: without that plugin no cake command works.
Plugins::loadAll();
Plugins::require('CakeResque');
