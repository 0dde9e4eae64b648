<?php
Configure::write('debug', 0);
