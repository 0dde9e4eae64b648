<?php
// Present because MISP has it. The stub has no database: job rows and stored settings are files in the state directory.
class DATABASE_CONFIG
{
    public $default = array(
        'datasource' => 'Database/Mysql',
        'host' => 'localhost',
        'login' => 'misp',
        'port' => 3306,
        'password' => 'stub',
        'database' => 'misp',
        'encoding' => 'utf8',
    );
}
