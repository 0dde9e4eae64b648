# The old workers, as they were started before the migration.
# shellcheck shell=sh disable=SC2154

restore_launchers
tries=0
while [ -z "$(legacy_processes)" ] && grep -qsE ' (active|activating) ' "$originals/units"; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || die "the old workers' unit was started, but no old worker lives after 30 s"
    sleep 0.5
done
