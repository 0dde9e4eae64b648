<?php
declare(strict_types=1);

/** Base of all commands. */
abstract class AppShell
{
    const OPTIONS = array();

    protected array $params = array();
    protected array $args = array();

    /** Shells that came later than the installed version are not there. */
    public static function exists(): bool
    {
        return true;
    }

    /** @return array subcommand => array of options, for OptionParser */
    abstract protected function subcommands(): array;

    /** @return mixed false is exit 1 */
    public function runCommand(array $tokens)
    {
        $command = (string)($tokens[0] ?? '');
        $known = $this->subcommands();
        if (!array_key_exists($command, $known)) {
            return $this->help();
        }
        try {
            list($this->params, $this->args) = OptionParser::parse(array_slice($tokens, 1), $known[$command]);
        } catch (ConsoleException $exception) {
            $this->err('Error: ' . $exception->getMessage());
            return $this->help();
        }
        return isset($this->params['help']) ? !$this->help() : $this->{$command}();
    }

    protected function help(): bool
    {
        $this->out('Usage:');
        $this->out('cake ' . strtolower(substr(static::class, 0, -5)) . ' [subcommand] [-h] [-v] [-q]');
        $this->out('');
        $this->out('Subcommands:');
        $this->out('');
        foreach (array_keys($this->subcommands()) as $name) {
            $this->out($name);
        }
        return false;
    }

    /** Cake writes to a handle of its own: in an orphan whose pipe is closed that fails without ending the job. */
    protected function out(string $text, int $newlines = 1): void
    {
        if (empty($this->params['quiet'])) {
            @file_put_contents('php://stdout', $text . str_repeat("\n", $newlines));
        }
    }

    protected function err(string $text): void
    {
        @file_put_contents('php://stderr', $text . "\n");
    }

    protected function json($data): void
    {
        $this->out((string)json_encode($data, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE));
    }

    protected function error(string $title, ?string $message = null): void
    {
        $this->err('Error: ' . $title);
        if ($message !== null) {
            $this->err($message);
        }
        throw new StopException($title, 1);
    }

    /** MISP ends commands with missing arguments in die(Usage): exit 0, so cron sees success. */
    protected function usage(string $text): void
    {
        $this->out("Usage: $text");
        throw new StopException('usage', 0);
    }

    protected function jobs(): BackgroundJobsTool
    {
        return BackgroundJobsTool::forCli();
    }

    /** The legacy worker runs jobs in its own fork, by the same classes. */
    public function perform(array $args): int
    {
        try {
            return $this->runCommand(array_map('strval', $args)) === false ? 1 : 0;
        } catch (StopException $stop) {
            return $stop->getCode();
        }
    }
}
