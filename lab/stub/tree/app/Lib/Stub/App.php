<?php
declare(strict_types=1);

/** CakePHP's class App, as far as MISP's CakeResque configuration needs it. */
final class App
{
    public static function pluginPath(string $plugin): string
    {
        return APP . "Plugin/$plugin/";
    }
}
