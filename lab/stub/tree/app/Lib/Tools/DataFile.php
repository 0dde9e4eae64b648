<?php
declare(strict_types=1);

/** Job input in a file: JSON below app/tmp/cache/ingest, of the web user alone, under a random name. */
final class DataFile
{
    const DIRECTORY = APP . 'tmp/cache/ingest/';

    public static function write(array $data): string
    {
        if (!is_dir(self::DIRECTORY)) {
            @mkdir(self::DIRECTORY, 0750, true);
        }
        // PHP's own answer to a directory that is missing or not writable would be a file in /tmp.
        $file = is_writable(self::DIRECTORY) ? tempnam(self::DIRECTORY, 'MISP') : false;
        if ($file === false) {
            throw new Exception('An error has occurred while attempt to create a temporary file in path `'
                . self::DIRECTORY . '`.');
        }
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR;
        file_put_contents($file, json_encode($data, $flags));
        return $file;
    }

    /** Without a slash in front it is a name in that directory: so MISP passed it before 2.4.165. */
    public static function readAndDelete(string $file): array
    {
        $file = strncmp($file, '/', 1) === 0 ? $file : self::DIRECTORY . $file;
        $text = @file_get_contents($file);
        if ($text === false) {
            throw new Exception("An error has occurred while attempt to read file `$file`: "
                . (file_exists($file) ? 'file is not readable.' : "file doesn't exists."));
        }
        unlink($file);
        return json_decode($text, true, 512, JSON_THROW_ON_ERROR);
    }
}
