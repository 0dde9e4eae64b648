<?php
declare(strict_types=1);

/** config.php, and the table system_settings that overrides it when MISP.system_setting_db is on. */
final class SettingsStore
{
    const DB_FILE = 'system_settings.json';
    const REVERTED = 'Something went wrong. MISP tried to save a malformed config file or you dont have permission to '
        . 'write to config file. Setting change reverted.';
    /** Top-level blocks that survive a rewrite; others, and comments, are lost. */
    const BLOCKS = array('debug', 'site_admin_debug', 'MISP', 'GnuPG', 'SMIME', 'Proxy', 'SecureAuth', 'Security',
        'Session', 'Session.defaults', 'Session.timeout', 'Session.cookieTimeout', 'Session.autoRegenerate', 'Plugin',
        'SimpleBackgroundJobs', 'CertAuth', 'ApacheShibbAuth', 'ApacheSecureAuth', 'LdapAuth', 'LinOTPAuth', 'OidcAuth',
        'AadAuth');

    public static function file(): string
    {
        return APP . 'Config/config.php';
    }

    public static function effective(): array
    {
        $config = self::fromFile();
        if (!empty($config['MISP']['system_setting_db'])) {
            foreach (StubState::readJson(self::DB_FILE) as $name => $value) {
                $config = Configure::with($config, explode('.', $name), $value);
            }
        }
        return $config;
    }

    /** A plain include, so that a web process keeps the compiled old file for as long as its opcache says. */
    private static function fromFile(): array
    {
        if (!is_readable(self::file())) {
            throw new RuntimeException('include(' . self::file() . '): Failed to open stream: Permission denied', 244);
        }
        $config = null;
        include self::file();
        if (!is_array($config)) {
            throw new RuntimeException(self::file() . ' is malformed.');
        }
        return $config;
    }

    /**
     * @param mixed $value
     * @return true|string
     */
    public static function save(string $name, $value)
    {
        if (!empty(Configure::read('MISP.system_setting_db')) && $name !== 'MISP.system_setting_db') {
            return self::saveRow($name, $value);
        }
        return self::saveFile($name, $value);
    }

    /**
     * With an empty value the row goes away and the file, or nothing, counts again.
     * @param mixed $value
     */
    private static function saveRow(string $name, $value): bool
    {
        $rows = StubState::readJson(self::DB_FILE);
        if ($value === '' || $value === null) {
            unset($rows[$name]);
        } else {
            $rows[$name] = $value;
        }
        StubState::writeJson(self::DB_FILE, $rows);
        return true;
    }

    /**
     * @param mixed $value
     * @return true|string
     */
    private static function saveFile(string $name, $value)
    {
        clearstatcache();
        if (!is_writable(self::file())) {
            return self::REVERTED;
        }
        $backup = APP . 'Config/config.backup.php';
        if (!@copy(self::file(), $backup)) {
            throw new RuntimeException("Could not create config backup `$backup`.");
        }
        $config = Configure::with(self::fresh(), explode('.', $name), $value);
        self::replaceFile(array_intersect_key($config, array_flip(self::BLOCKS)));
        if (empty(Configure::read('MISP.server_settings_skip_backup_rotate'))) {
            unlink($backup);
        }
        return true;
    }

    /** The file as it is now, past any opcache: the writer starts from what is on disk. */
    private static function fresh(): array
    {
        if (function_exists('opcache_invalidate')) {
            @opcache_invalidate(self::file(), true);
        }
        return self::fromFile();
    }

    /** Temporary file and rename: the mode is kept, the *owner becomes the caller*. */
    private static function replaceFile(array $config): void
    {
        $mode = fileperms(self::file()) & 0777;
        $temporary = tempnam(dirname(self::file()), 'config');
        file_put_contents($temporary, "<?php\n\$config = " . var_export($config, true) . ";\n");
        chmod($temporary, $mode);
        rename($temporary, self::file());
        if (function_exists('opcache_invalidate')) {
            // Only the opcache of this process's own kind: the command line cannot reach the web server's.
            @opcache_invalidate(self::file(), true);
        }
    }
}
