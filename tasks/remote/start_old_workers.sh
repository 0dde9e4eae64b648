# The old workers, as they were started before the migration.
# shellcheck shell=sh disable=SC2154

restore_launchers
put_launchers_back
tries=0
while [ -z "$(legacy_processes)" ] && grep -sv "^$supervisor_unit.service " "$originals/units" | grep -qE ' (active|activating) '; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || die "the old workers' unit was started, but no old worker lives after 30 s"
    sleep 0.5
done
