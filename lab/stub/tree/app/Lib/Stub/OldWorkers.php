<?php
declare(strict_types=1);

final class OldWorkers
{
    /**
     * Forgets those that are dead and has start.sh run behind the caller's back. The new ones are the caller's children:
     * where a unit had started the old ones it ends with them, and its ExecStop then stops the new ones as well.
     */
    public static function restart(): void
    {
        if (empty(Configure::read('MISP.background_jobs'))) {
            return;
        }
        foreach (array_keys(ResqueStatus::workers()) as $pid) {
            if (!file_exists("/proc/$pid")) {
                ResqueStatus::removeWorker((int)$pid);
            }
        }
        exec(escapeshellarg(APP . 'Console/worker/start.sh') . ' >/dev/null 2>&1 &');
    }
}
