<?php
// Writes the files that depend on the profile; called by install.sh and set-redis.sh, as root.
// setup.php stub ROOT PROFILE WEB_USER | misp ROOT PROFILE | composer-before ROOT PROFILE | composer-after ROOT PROFILE
//           | redis ROOT HOST PORT        (password in the environment variable STUB_REDIS_PASSWORD)

const FLAGS = JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES;

function profile(string $name): array
{
    $text = file_get_contents(__DIR__ . "/profiles/$name.json");
    return json_decode((string)$text, true, 512, JSON_THROW_ON_ERROR);
}

/** Keys that the lab put there, an API key for instance, stay. */
function writeStub(string $root, string $name, string $user): void
{
    $file = '/etc/misp-stub.json';
    $old = is_file($file) ? json_decode((string)file_get_contents($file), true) : array();
    $new = array('profile' => $name, 'root' => $root, 'web_user' => $user, 'state_dir' => '/var/lib/misp-stub');
    file_put_contents($file, json_encode($new + ($old ?: array()), FLAGS) . "\n");
}

function writeMisp(string $root, string $name): void
{
    $profile = profile($name);
    list($major, $minor, $hotfix) = $profile['version'];
    file_put_contents("$root/VERSION.json", "{\"major\":$major, \"minor\":$minor, \"hotfix\":$hotfix}\n");
    $config = array(
        'debug' => 0,
        'MISP' => array('baseurl' => '', 'live' => true, 'background_jobs' => true, 'manage_workers' => true,
            'language' => 'eng', 'org' => 'ORGNAME', 'email' => 'email@address.com',
            'uuid' => '00000000-0000-4000-8000-000000000000',
            'redis_host' => '127.0.0.1', 'redis_port' => 6379, 'redis_database' => 13, 'redis_password' => ''),
        'Security' => array('auth_enforced' => false),
        'Plugin' => array(),
    );
    // Part of config.default.php since 2.4.151; an instance upgraded from before keeps a file without it.
    if ($profile['settings_block']) {
        $config['SimpleBackgroundJobs'] = defaultBlock($profile['version']);
    }
    writeConfig($root, $config);
}

function defaultBlock(array $version): array
{
    $old = version_compare(implode('.', $version), '2.4.156', '<');
    return array('enabled' => false, 'redis_host' => 'localhost', 'redis_port' => 6379, 'redis_database' => 1,
        'redis_password' => '', 'redis_namespace' => 'background_jobs', 'max_job_history_ttl' => 86400,
        'supervisor_host' => 'localhost', 'supervisor_port' => 9001, 'supervisor_user' => $old ? '' : 'supervisor',
        'supervisor_password' => '');
}

function writeConfig(string $root, array $config): void
{
    file_put_contents("$root/app/Config/config.php", "<?php\n\$config = " . var_export($config, true) . ";\n");
}

function writeComposer(string $root, string $name, bool $before): void
{
    $profile = profile($name);
    $require = array('php' => $profile['php'], $profile['resque'][0] => $profile['resque'][1]);
    $composer = array(
        'name' => 'misp/misp',
        'require' => $before ? $require : $require + $profile['require'],
        'require-dev' => array('phpunit/phpunit' => '^9', 'cakephp/debug_kit' => '^2.2'),
        'suggest' => array_fill_keys($profile['suggest'], 'Required for the new background jobs backend.'),
        'config' => array('vendor-dir' => 'Vendor', 'optimize-autoloader' => true),
    );
    if ($composer['suggest'] === array()) {
        unset($composer['suggest']);
    }
    // Older versions do not have it, and today's Composer then blocks the plugin that puts CakeResque in its place.
    if ($before || $profile['allow_plugins']) {
        $composer['config']['allow-plugins'] = array('composer/installers' => true);
    }
    file_put_contents("$root/app/composer.json", json_encode($composer, FLAGS) . "\n");
}

/** MISP has three Redis configurations; this points all of them at one server, in the databases they have. */
function writeRedis(string $root, string $host, int $port): void
{
    $password = (string)getenv('STUB_REDIS_PASSWORD');
    $config = array();
    include "$root/app/Config/config.php";
    foreach (array_intersect(array('MISP', 'SimpleBackgroundJobs'), array_keys($config)) as $block) {
        $config[$block]['redis_host'] = $host;
        $config[$block]['redis_port'] = $port;
        $config[$block]['redis_password'] = $password;
    }
    writeConfig($root, $config);
    $file = "$root/app/Plugin/CakeResque/Config/config.php";
    $text = (string)file_get_contents($file);
    $values = array('host' => $host, 'port' => $port, 'password' => $password === '' ? null : $password);
    foreach ($values as $key => $value) {
        $line = "'$key' => " . var_export($value, true) . ',';
        $text = preg_replace_callback("/'$key' => .*,/", static function () use ($line): string {
            return $line;
        }, (string)$text, 1);
    }
    file_put_contents($file, $text);
}

list(, $what, $root) = $argv;
switch ($what) {
    case 'stub':
        writeStub($root, $argv[3], $argv[4]);
        break;
    case 'misp':
        writeMisp($root, $argv[3]);
        break;
    case 'composer-before':
    case 'composer-after':
        writeComposer($root, $argv[3], $what === 'composer-before');
        break;
    case 'redis':
        writeRedis($root, $argv[3], (int)$argv[4]);
        break;
    default:
        fwrite(STDERR, "setup.php: unknown step $what\n");
        exit(2);
}
