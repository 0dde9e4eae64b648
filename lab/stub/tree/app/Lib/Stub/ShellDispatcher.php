<?php
declare(strict_types=1);

/** From an argument list to a shell's method, and from what happens there to an exit code, as Cake's console does. */
final class ShellDispatcher
{
    public static function run(array $argv): void
    {
        Log::$console = true;
        exit(self::dispatch($argv));
    }

    private static function dispatch(array $argv): int
    {
        $jobId = getenv('BACKGROUND_JOB_ID');
        try {
            if ($jobId !== false && $jobId !== '') {
                Ledger::begin($jobId);
            }
            $exit = self::bootAndCall(self::withoutWorking(array_slice($argv, 1)));
        } catch (StopException $stop) {
            $exit = $stop->getCode();
        } catch (Throwable $error) {
            $exit = self::report($error);
        }
        if ($exit === 0 && $jobId !== false && CacheFiles::$spoilt) {
            $exit = 1;
        }
        Ledger::setExit($exit);
        return $exit;
    }

    private static function bootAndCall(array $tokens): int
    {
        self::slowStart();
        CacheFiles::touch();
        Configure::load();
        require APP . 'Config/core.php';
        require APP . 'Config/bootstrap.php';
        return self::call($tokens);
    }

    /** cake.php is given `-working APP` in front of the command. */
    private static function withoutWorking(array $tokens): array
    {
        $at = array_search('-working', $tokens, true);
        if ($at !== false) {
            array_splice($tokens, (int)$at, 2);
        }
        return $tokens;
    }

    private static function call(array $tokens): int
    {
        if ($tokens === array()) {
            fwrite(STDOUT, "Welcome to CakePHP Console\n");
            return 0;
        }
        $shell = self::shell((string)array_shift($tokens));
        return $shell->runCommand($tokens) === false ? 1 : 0;
    }

    private static function shell(string $name): AppShell
    {
        list($plugin, $name) = strpos($name, '.') !== false ? explode('.', $name, 2) : array(null, $name);
        $class = str_replace(' ', '', ucwords(str_replace('_', ' ', $name))) . 'Shell';
        if ($plugin !== null) {
            $file = Plugins::path($plugin) . "/Console/Command/$class.php";
            if (is_file($file)) {
                require_once $file;
            }
        }
        if (!class_exists($class) || !is_subclass_of($class, AppShell::class) || !$class::exists()) {
            // Cake's code is 500, of which a process gives the last byte.
            throw new RuntimeException("Shell class $class could not be found.", 500 & 255);
        }
        return new $class();
    }

    /** Uncaught: `Error: MESSAGE` and a trace on stderr; the exit code is the exception's own or 1. */
    private static function report(Throwable $error): int
    {
        Ledger::add(array('error' => $error->getMessage()));
        fwrite(STDERR, 'Error: ' . $error->getMessage() . "\n" . $error->getTraceAsString() . "\n");
        $code = (int)$error->getCode();
        return $code > 0 && $code < 255 ? $code : 1;
    }

    /** A real cake start takes long enough on a busy host to pass supervisord's startsecs=1 and die afterwards. */
    private static function slowStart(): void
    {
        $seconds = (float)StubState::get('slow_start', 0);
        if ($seconds > 0) {
            usleep((int)($seconds * 1000000));
        }
    }
}
