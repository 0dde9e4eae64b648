<?php
declare(strict_types=1);

/** `Admin stubJob NUMBER`: not in MISP. A numbered job with every habit that a real one can have. */
trait StubJob
{
    protected static function stubJobOptions(): array
    {
        return array(
            'sleep' => array(),
            'spawn' => array(),
            'fail' => array('flag' => true),
            'binary' => array('flag' => true),
            'stderr' => array('flag' => true),
            'echo' => array('flag' => true),
        );
    }

    /** @return mixed */
    public function stubJob()
    {
        $number = $this->args[0] ?? null;
        if ($number === null) {
            $this->usage('MISP/app/Console/cake Admin stubJob NUMBER [--sleep S] [--fail] [--binary] [--stderr] [--echo]'
                . ' [--spawn NUMBER,QUEUE]');
        }
        $this->stubSleep((float)($this->params['sleep'] ?? 0));
        if (isset($this->params['spawn'])) {
            $this->stubSpawn($this->params['spawn']);
        }
        if (!empty($this->params['echo'])) {
            // Past Cake's handle: aborts an orphan whose pipe is closed.
            echo "Echo of job $number.\n";
            flush();
        }
        $this->stubOutput((string)$number);
        if (!empty($this->params['fail'])) {
            throw new StopException('fail', 3);
        }
        return true;
    }

    private function stubOutput(string $number): void
    {
        if (!empty($this->params['stderr'])) {
            $this->err("Warning of job $number.");
        }
        // Not UTF-8: phpredis then stores a cut-off record.
        $this->out(empty($this->params['binary']) ? "Job $number done." : "Job \xff\xfe\x80 $number done.");
    }

    private function stubSleep(float $seconds): void
    {
        $end = microtime(true) + $seconds;
        while (($left = $end - microtime(true)) > 0) {
            usleep((int)(min($left, 0.2) * 1000000));
        }
    }

    /** By the configuration this process has: a legacy worker goes on enqueueing to Resque after the switch. */
    private function stubSpawn(string $spec): void
    {
        list($number, $queue) = array_pad(explode(',', $spec, 2), 2, 'default');
        $this->jobs()->enqueue($queue, 'admin', array('stubJob', $number));
    }
}
