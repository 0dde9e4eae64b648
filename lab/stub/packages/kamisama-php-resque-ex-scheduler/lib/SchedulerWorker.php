<?php

/** Moves due jobs to their queues. It is a worker of the queue `_schdlr_` to everybody else. */
class ResqueScheduler_Worker extends Resque_Worker
{
    public function __construct(int $interval)
    {
        parent::__construct(Resque::DELAYED, $interval);
    }

    protected function next(): ?array
    {
        while (($time = $this->due()) !== null) {
            $this->move($time);
        }
        return null;
    }

    private function due(): ?string
    {
        $times = Resque::redis()->zRangeByScore(Resque::DELAYED, '-inf', (string)time(), array('limit' => array(0, 1)));
        return $times === array() ? null : (string)$times[0];
    }

    private function move(string $time): void
    {
        $list = Resque::DELAYED . ":$time";
        while (($text = Resque::redis()->lPop($list)) !== false) {
            $item = json_decode($text, true);
            $args = $item['args'][0];
            $id = $args['id'];
            unset($args['id'], $args['s_time']);
            Resque::enqueue($item['queue'], $item['class'], array_values($args), (bool)$item['track'], $id);
        }
        Resque::redis()->zRem(Resque::DELAYED, $time);
    }
}
