<?php
declare(strict_types=1);

/** Not in MISP: jobs with input that is too big for an argument, numbered by the event that they are about. */
final class DataJob
{
    const COMMANDS = array('processfreetext', 'processmoduleresult', 'publish_sightings');

    /**
     * With a row in the jobs table, and the arguments that MISP gives.
     * @return string[] job id and digest of the data
     */
    public static function enqueue(BackgroundJobsTool $tool, string $queue, string $command, int $number): array
    {
        if (!in_array($command, self::COMMANDS, true)) {
            throw new ConsoleException("No command with data: $command. There are " . implode(', ', self::COMMANDS));
        }
        $row = JobTable::create($queue, $command, "Event: $number", 'Processing...');
        $data = self::data($command, $number, $row);
        $argument = $tool->enqueueDataFile($data);
        $args = $command === 'publish_sightings'
            ? array($command, (string)$number, null, $row, '1', $argument) : array($command, $argument);
        return array($tool->enqueue($queue, 'event', $args, $row), self::digest($data));
    }

    /** By the command that has got its data. */
    public static function arrived(array $data, int $number, int $row): void
    {
        Ledger::add(array('number' => $number, 'digest' => self::digest($data)));
        JobTable::change($row, array('status' => '4', 'progress' => '100', 'message' => 'Processing complete.'));
    }

    /** Of the data, however they were written on their way. */
    private static function digest(array $data): string
    {
        return sha1(json_encode($data, JSON_THROW_ON_ERROR));
    }

    /** Others each time, with everything that a copy made by hand may spoil. */
    private static function data(string $command, int $number, int $row): array
    {
        if ($command === 'publish_sightings') {
            return array_map(array(BackgroundJobsTool::class, 'uuid'), array_fill(0, 12, null));
        }
        $attributes = array();
        for ($i = 0; $i < 60; $i++) {
            $attributes[] = array(
                'type' => 'text',
                'value' => BackgroundJobsTool::uuid()
                    . " https://example.com/?a=\"%24;\\'\n\tgr\u{f6}\u{df}er \u{1f41f}\u{2028}",
                'to_ids' => false,
                'distribution' => 5,
                'score' => 0.1 + $i,
                'comment' => null,
                'Tag' => array(),
            );
        }
        return array('user' => array('id' => '1', 'Role' => array('perm_site_admin' => true)), 'id' => (string)$number,
            'attributes' => $attributes, 'default_comment' => '', 'jobId' => $row);
    }
}
