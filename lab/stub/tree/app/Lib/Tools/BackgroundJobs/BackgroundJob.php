<?php
declare(strict_types=1);

/** One job: its record in Redis, and how it is run. */
class BackgroundJob implements JsonSerializable
{
    const STATUS_WAITING = 1;
    const STATUS_RUNNING = 2;
    const STATUS_FAILED = 3;
    const STATUS_COMPLETED = 4;
    const WORDS = array(1 => 'waiting', 2 => 'running', 3 => 'failed', 4 => 'completed');
    /** The order in which the fields are sent. */
    const FIELDS = array('id', 'command', 'args', 'createdAt', 'updatedAt', 'status', 'output', 'error', 'metadata');

    private string $id;
    private string $command;
    private array $args;
    private int $createdAt;
    private ?int $updatedAt;
    private int $status;
    private ?string $output;
    private ?string $error;
    private array $metadata;
    private ?int $returnCode = null;

    /** A record that is no array (the other serializer, or cut-off JSON) is a TypeError here, as in MISP. */
    public function __construct(array $fields)
    {
        $this->id = $fields['id'];
        $this->command = $fields['command'];
        $this->args = $fields['args'] ?? array();
        $this->createdAt = $fields['createdAt'] ?? time();
        $this->updatedAt = $fields['updatedAt'] ?? null;
        $this->status = $fields['status'] ?? self::STATUS_WAITING;
        $this->output = $fields['output'] ?? null;
        $this->error = $fields['error'] ?? null;
        $this->metadata = $fields['metadata'] ?? array();
    }

    /**
     * The list form of proc_open, the worker's stdin and directory, and an environment of one single variable.
     * $alive is called at least every five seconds while the job runs.
     */
    public function run(callable $alive): void
    {
        $this->refuseOnOldPhp();
        $words = array_map('strval', $this->args);
        $process = proc_open(
            array_merge(array(ROOT . '/app/Console/cake', $this->command), $words),
            array(1 => array('pipe', 'w'), 2 => array('pipe', 'w')),
            $pipes,
            null,
            array('BACKGROUND_JOB_ID' => $this->id)
        );
        if ($process === false) {
            throw new RuntimeException('Could not start the job.');
        }
        // Asked once, and early: before PHP 8.3 asking after the end takes the exit code away from proc_close.
        $pid = proc_get_status($process)['pid'];
        $alive($pid);
        list($this->output, $this->error) = $this->collect($pipes, static function () use ($alive, $pid): void {
            $alive($pid);
        });
        $this->returnCode = proc_close($process);
        $this->status = $this->succeeded() ? self::STATUS_COMPLETED : self::STATUS_FAILED;
    }

    /** @return string[] what came on stdout and on stderr */
    private function collect(array $pipes, callable $alive): array
    {
        $texts = array(1 => '', 2 => '');
        array_map(static function ($pipe) {
            stream_set_blocking($pipe, false);
        }, $pipes);
        $told = microtime(true);
        while ($pipes !== array()) {
            $ready = $pipes;
            $write = $except = null;
            stream_select($ready, $write, $except, 4);
            if (microtime(true) - $told > 3.5) {
                $alive();
                $told = microtime(true);
            }
            foreach ($ready as $number => $pipe) {
                $texts[$number] .= (string)stream_get_contents($pipe);
                if (feof($pipe)) {
                    fclose($pipe);
                    unset($pipes[$number]);
                }
            }
        }
        return array($texts[1], $texts[2]);
    }

    /** Exit code 0 is success. In 2.4.151 to 2.4.153 any output on stderr was a failure too. */
    private function succeeded(): bool
    {
        return $this->returnCode === 0 && ($this->error === '' || Version::atLeast('2.4.154'));
    }

    /** Switch `old_php`: PHP before 7.4 takes a string only, so the job fails and the worker dies with it. */
    private function refuseOnOldPhp(): void
    {
        if (StubState::get('old_php', false)) {
            throw new TypeError('proc_open() expects parameter 1 to be string, array given');
        }
    }

    #[\ReturnTypeWillChange]
    public function jsonSerialize()
    {
        $record = array();
        foreach (self::FIELDS as $field) {
            $record[$field] = $this->$field;
        }
        return $record;
    }

    /** With igbinary the object itself is stored. */
    public function __sleep()
    {
        return self::FIELDS;
    }

    public function touch(int $status): void
    {
        $this->status = $status;
        $this->updatedAt = time();
    }

    public function id(): string
    {
        return $this->id;
    }

    public function command(): string
    {
        return $this->command;
    }

    public function args(): array
    {
        return $this->args;
    }

    public function status(): int
    {
        return $this->status;
    }

    public function returnCode(): ?int
    {
        return $this->returnCode;
    }

    public function output(): ?string
    {
        return $this->output;
    }

    public function error(): ?string
    {
        return $this->error;
    }
}
