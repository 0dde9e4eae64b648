<?php
declare(strict_types=1);

/** The settings MISP knows: type, test and the default that its pages show (the code itself has no defaults). */
final class SettingsCatalog
{
    const MISP = array(
        // name => type, default, test
        'baseurl' => array('string', '', null),
        'live' => array('boolean', false, 'testLive'),
        'background_jobs' => array('boolean', true, 'testBool'),
        'manage_workers' => array('boolean', true, 'testBool'),
        'osuser' => array('string', 'www-data', 'testForEmpty'),
        'org' => array('string', '', 'testForEmpty'),
        'email' => array('string', '', 'testForEmpty'),
        'uuid' => array('string', '0', 'testUuid'),
        'language' => array('string', 'eng', null),
        'python_bin' => array('string', null, null),
        'redis_host' => array('string', '127.0.0.1', 'testForEmpty'),
        'redis_port' => array('numeric', 6379, 'testForNumeric'),
        'redis_database' => array('numeric', 13, 'testForNumeric'),
        'redis_password' => array('string', '', null),
        'system_setting_db' => array('boolean', false, 'testBool'),
        'server_settings_skip_backup_rotate' => array('boolean', false, 'testBool'),
        'disable_cached_exports' => array('boolean', true, 'testBool'),
        'welcome_text_top' => array('string', '', null),
    );

    const JOBS = array(
        'enabled' => array('boolean', false, 'testBool'),
        'redis_host' => array('string', '127.0.0.1', 'testForEmpty'),
        'redis_port' => array('numeric', 6379, 'testForNumeric'),
        'redis_database' => array('numeric', 1, 'testForNumeric'),
        'redis_password' => array('string', '', null),
        'redis_namespace' => array('string', 'background_jobs', null),
        'redis_serializer' => array('string', 'JSON', null, '2.4.165'),
        'max_job_history_ttl' => array('numeric', 86400, 'testForNumeric'),
        'supervisor_host' => array('string', 'localhost', 'testForEmpty'),
        'supervisor_port' => array('numeric', 9001, 'testForNumeric'),
        'supervisor_user' => array('string', 'supervisor', null),
        'supervisor_password' => array('string', '', null),
    );

    const REDACTED = array('MISP.redis_password', 'SimpleBackgroundJobs.redis_password',
        'SimpleBackgroundJobs.supervisor_password');

    public static function find(string $name): ?array
    {
        foreach (self::all() as $setting) {
            if ($setting['setting'] === $name) {
                return $setting;
            }
        }
        return null;
    }

    /** @return array[] in the order in which MISP prints their fields */
    public static function all(): array
    {
        $all = array();
        foreach (array('MISP' => self::MISP, 'SimpleBackgroundJobs' => self::JOBS) as $block => $settings) {
            foreach ($settings as $name => $row) {
                if (Version::atLeast($row[3] ?? ($block === 'MISP' ? '2.4' : '2.4.151'))) {
                    $all[] = self::describe("$block.$name", $block, $row);
                }
            }
        }
        return $all;
    }

    private static function describe(string $name, string $tab, array $row): array
    {
        $setting = array('level' => 1, 'description' => "Stub of $name.", 'value' => $row[1], 'test' => $row[2],
            'type' => $row[0]);
        if ($name === 'SimpleBackgroundJobs.supervisor_user' && !Version::atLeast('2.4.156')) {
            $setting['value'] = '';
        }
        if ($name === 'SimpleBackgroundJobs.redis_serializer') {
            $setting['options'] = array('JSON' => 'JSON', 'igbinary' => 'igbinary');
        }
        if (in_array($name, self::REDACTED, true)) {
            $setting['redacted'] = true;
        }
        return $setting + array('tab' => $tab, 'setting' => $name);
    }

    /** The value as this process sees it. An unset one shows its default, with error 1: `value` alone proves nothing. */
    public static function withValue(array $setting): array
    {
        $value = Configure::read($setting['setting']);
        $tail = array('tab' => $setting['tab'], 'setting' => $setting['setting']);
        unset($setting['tab'], $setting['setting']);
        if ($value === null) {
            $setting['error'] = 1;
            $setting['errorMessage'] = 'Value not set.';
        } else {
            $setting['value'] = $value;
            $problem = self::test($setting, $value);
            if ($problem !== true) {
                $setting['error'] = 1;
                $setting['errorMessage'] = $problem;
            }
        }
        return $setting + $tail;
    }

    /**
     * @param mixed $value
     * @return true|string
     */
    public static function test(array $setting, $value)
    {
        if (isset($setting['options']) && !array_key_exists((string)$value, $setting['options'])) {
            return 'Invalid setting value.';
        }
        switch ($setting['test']) {
            case 'testForEmpty':
                return (string)$value === '' ? 'Value not set.' : true;
            case 'testBool':
                return $value === true || $value === false ? true : 'Value is not a boolean, make sure that you convert '
                    . "'true' to true for example.";
            default:
                // testForNumeric passes everything, as in MISP.
                return true;
        }
    }
}
