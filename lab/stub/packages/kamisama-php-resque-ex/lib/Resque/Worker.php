<?php

/**
 * A worker of the old backend: polls its queue, forks for each job.
 * QUIT: finish the job, then go. TERM, INT: kill the job, go now. USR1: kill the job. USR2: pause. CONT: resume.
 */
class Resque_Worker
{
    protected string $id;
    protected string $queue;
    protected int $interval;
    private bool $told = false;
    private bool $shutdown = false;
    private bool $paused = false;
    private ?int $child = null;

    public function __construct(string $queue, int $interval)
    {
        $this->queue = $queue;
        $this->interval = max(1, $interval);
        $this->id = php_uname('n') . ':' . getmypid() . ':' . $queue;
    }

    public function work(): void
    {
        $this->startup();
        while (!$this->shutdown) {
            $job = $this->paused ? null : $this->next();
            // A signal ends the sleep early, but php-resque notices QUIT only here: after one more look at the queue,
            // whose job it still does, and before one more sleep.
            $this->shutdown = $this->told;
            if ($job !== null) {
                $this->run($job);
                $this->shutdown = $this->told;
            } else {
                usleep($this->interval * 1000000);
            }
        }
        $this->unregister();
    }

    /** @return array|null what to do next, if anything */
    protected function next(): ?array
    {
        return Resque::pop($this->queue);
    }

    protected function startup(): void
    {
        $this->registerSignals();
        $this->pruneDead();
        Resque::redis()->sAdd('workers', $this->id);
        Resque::redis()->set("worker:{$this->id}:started", date('D M d H:i:s T Y'));
        Resque::redis()->hSet('workerLogger', $this->id, json_encode(array('RotatingFile', TMP . 'logs/resque.log')));
        $this->log("Starting worker {$this->id}");
    }

    private function registerSignals(): void
    {
        pcntl_async_signals(true);
        $now = function (): void {
            $this->killChild();
            $this->unregister();
            exit(0);
        };
        // Without a restart of the wait for the child, which would hold the handler back until the job has ended.
        pcntl_signal(SIGTERM, $now, false);
        pcntl_signal(SIGINT, $now, false);
        pcntl_signal(SIGQUIT, function (): void {
            $this->told = true;
        });
        pcntl_signal(SIGUSR1, function (): void {
            $this->killChild();
        }, false);
        pcntl_signal(SIGUSR2, function (): void {
            $this->paused = true;
        });
        pcntl_signal(SIGCONT, function (): void {
            $this->paused = false;
        });
    }

    /** Entries of this host whose process is gone, for instance since before a reboot. */
    private function pruneDead(): void
    {
        foreach (Resque::workers() as $worker) {
            list($host, $pid) = explode(':', $worker);
            if ($host === php_uname('n') && !file_exists("/proc/$pid")) {
                $this->forget($worker);
            }
        }
    }

    private function run(array $item): void
    {
        $this->busy($item);
        $command = array_search($item['class'], BackgroundJobsTool::LEGACY_CLASSES, true);
        Ledger::handOver($item['id'], 'resque', $this->queue, (string)$command, $item['args'][0]);
        Resque::setStatus($item['id'], 2);
        $this->child = pcntl_fork();
        if ($this->child === 0) {
            $this->inChild($item);
        }
        $this->report($item, $this->waitForChild());
        $this->child = null;
        Resque::redis()->del("worker:{$this->id}");
    }

    /** Signals break into the wait; the job goes on, so wait again. */
    private function waitForChild(): int
    {
        do {
            $done = pcntl_waitpid((int)$this->child, $status);
        } while ($done === -1 && pcntl_get_last_error() === PCNTL_EINTR);
        return $done > 0 && pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 255;
    }

    /** The configuration is the one the worker loaded at its start, however long ago that was. */
    private function inChild(array $item): void
    {
        foreach (array(SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2) as $signal) {
            pcntl_signal($signal, SIG_DFL);
        }
        Resque::forget();
        Ledger::begin($item['id']);
        try {
            $exit = (new $item['class']())->perform($item['args'][0]);
        } catch (Throwable $error) {
            $this->log($error->getMessage());
            Ledger::add(array('error' => $error->getMessage()));
            $exit = 1;
        }
        Ledger::setExit($exit);
        exit($exit);
    }

    private function report(array $item, int $exit): void
    {
        Resque::count('processed');
        Resque::setStatus($item['id'], $exit === 0 ? 4 : 3);
        if ($exit !== 0) {
            Resque::count('failed');
            Resque::redis()->setex("failed:{$item['id']}", 50400, serialize(array('failed_at' => date('D M d H:i:s T Y'),
                'payload' => $item, 'worker' => $this->id, 'queue' => $this->queue, 'error' => "exit $exit")));
        }
    }

    private function busy(array $item): void
    {
        Resque::redis()->set("worker:{$this->id}", json_encode(array('queue' => $this->queue,
            'run_at' => date('D M d H:i:s T Y'), 'payload' => $item)));
    }

    private function killChild(): void
    {
        if ($this->child !== null && $this->child > 0) {
            posix_kill($this->child, SIGKILL);
        }
    }

    /** The worker takes itself out of `workers` when it really goes; ResqueWorker is left as it is. */
    private function unregister(): void
    {
        $this->forget($this->id);
        $this->log("Exiting worker {$this->id}");
    }

    private function forget(string $worker): void
    {
        Resque::redis()->sRem('workers', $worker);
        Resque::redis()->del("worker:$worker", "worker:$worker:started");
        Resque::redis()->hDel('workerLogger', $worker);
    }

    protected function log(string $text): void
    {
        echo date('[Y-m-d H:i:s] '), $text, "\n";
    }
}
