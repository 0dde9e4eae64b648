# Every worker RUNNING under one PID for a while: a crash-looping one shows RUNNING between two deaths.
# shellcheck shell=sh disable=SC2154

pids() { ctl status 2>/dev/null | awk '$1 ~ /^misp-workers:/ { print $1, $2, $4 }'; }

tries=0
before=$(pids)
while :; do
    sleep "$stable_seconds"
    after=$(pids)
    if [ "$after" = "$before" ] && ! printf '%s\n' "$after" | grep -qv ' RUNNING '; then break; fi
    tries=$((tries + 1))
    if [ "$tries" -ge 6 ]; then
        ctl status >&2
        tail -n 5 "$log_dir"/*.log >&2
        die "the workers do not stay: their states and the ends of their logs are above"
    fi
    before=$after
done
