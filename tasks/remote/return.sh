# After a failed proof: the host as it was, with its old workers, if these still live. Comes behind
# restore.sh. Where they were retired before, the new backend is all there is, so it stays.
# shellcheck shell=sh disable=SC2154

if [ -z "$(legacy_processes)" ] || [ ! -d "$originals" ]; then
    printf 'no old worker lives to go back to, so the new backend stays as it is\n'
    exit 0
fi
put_launchers_back # a run may have been cut off while it took them out of use
restore_settings
reload_web
remove_workers
move_jobs_back
restore_supervisor
restore_libraries
restore_selinux
forget
printf 'the host is as it was before: MISP queues to its old workers\n'
