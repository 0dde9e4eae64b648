# Every worker alive for a while: a crash-looping one shows RUNNING between two deaths, but never grows
# old. supervisord counts from a process's start, so the seconds until RUNNING (startsecs) count too.
# shellcheck shell=sh disable=SC2154

youngest() { # age in seconds of the youngest worker; 0 if one is not RUNNING
    ctl status 2>/dev/null | awk '
        $1 ~ /^misp-workers:/ {
            split($6, time, ":")
            age = $2 != "RUNNING" ? 0 : NF > 6 ? 86400 : time[1] * 3600 + time[2] * 60 + time[3] # "1 day, 0:00:05"
            if (!seen++ || age < least) least = age
        }
        END { print least + 0 }'
}

limit=$(($(date +%s) + 90))
while age=$(youngest) && [ "$age" -lt "$stable_seconds" ]; do
    if [ "$(date +%s)" -ge "$limit" ]; then
        ctl status >&2
        tail -n 5 "$log_dir"/*.log >&2
        die "the workers do not stay: their states and the ends of their logs are above"
    fi
    if [ "$age" -eq 0 ]; then sleep 1; else sleep "$((stable_seconds - age - 1)).5"; fi
done
