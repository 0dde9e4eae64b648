# supervisord's workers as they live: whether they stay, which have no job, how they end. See lib.sh.
# shellcheck shell=sh disable=SC2154

wait_until_running() { # every worker of the group that supervisord has, within a minute
    tries=0
    while :; do
        states=$(ctl status 2>/dev/null | awk '$1 ~ /^misp-workers:/ { print $2 }' | sort -u)
        [ "$states" != RUNNING ] || return 0
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || return 1
        sleep 1
    done
}

# Every worker alive for a while: a crash-looping one shows RUNNING between two deaths, but never grows
# old. It counts from a process's start, so the seconds until RUNNING (startsecs) count too.
wait_until_stable() { # SECONDS
    limit=$(($(date +%s) + 90))
    while age=$(youngest) && [ "$age" -lt "$(($1 * 100))" ]; do
        if [ "$(date +%s)" -ge "$limit" ]; then
            ctl status >&2
            tail -n 5 "$log_dir"/*.log >&2
            die "the workers do not stay: their states and the ends of their logs are above"
        fi
        if [ "$age" -eq 0 ]; then sleep 0.5; else sleep "$(awk "BEGIN { print $1 - $age / 100 }")"; fi
    done
}

youngest() { # age of the youngest worker in ticks, a hundredth of a second; 0 if one is not RUNNING
    pids=$({ status_over_rpc || ctl status; } 2>/dev/null | awk '
        $1 ~ /^misp-workers:/ { sub(/,/, "", $4); pids = pids " " ($2 == "RUNNING" ? $4 : "none") }
        END { print pids }')
    last=
    for pid in $pids; do
        see_process "$pid" || { last=; break; }
        [ "$started" -lt "${last:-0}" ] || last=$started
    done
    if [ -n "$last" ]; then echo "$(($(now_ticks) - last))"; else echo 0; fi
}

status_over_rpc() { # what `supervisorctl status` prints, without the start of a Python; status 1: no answer
    find_password && answers=$(misp status) || return 1
    case $answers in '' | *"$tab"'{"error"'*) return 1 ;; esac
    printf '%s\n' "$answers" | cut -f2-
}

# A worker is idle when it has no child: each job is one (BackgroundJob.php).
busy_workers() { # names, one a line
    parents=$(cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | cut -d' ' -f2 | sort -u | tr '\n' ' ')
    ctl status 2>/dev/null | awk -v parents=" $parents" '$1 ~ /^misp-workers:/ && $3 == "pid" {
        pid = $4; sub(/,/, "", pid); if (index(parents, " " pid " ")) print $1 }'
}

# Stop each worker as it becomes idle, then wait for jobs whose worker has ended before them: EPEL's
# unit kills the children of a stopped daemon, so only after that nothing is cut.
stop_idle_workers() {
    daemon_is_active || return 0
    limit=$(($(date +%s) + drain_timeout))
    are_aside=no
    while :; do
        workers=$(live_workers)
        pids=$(printf '%s\n' "$workers" | awk '$2 > 0 { print $2 }')
        # shellcheck disable=SC2086  # a list of words
        frozen=$(freeze_idle_workers $pids) || are_aside=yes
        frozen=" $frozen "
        # Between two attempts to start a worker has no PID, and no job.
        idle=$(printf '%s\n' "$workers" | awk -v frozen="$frozen" '$2 == 0 || index(frozen, " " $2 " ") { print $1 }')
        # shellcheck disable=SC2086  # a list of words
        [ -z "$idle" ] || stop_frozen_workers $idle
        left=$(live_workers | cut -d' ' -f1 | tr '\n' ' ')
        [ -n "$left$(jobs_of_misp)" ] || break
        if [ "$(date +%s)" -ge "$limit" ]; then
            ctl start 'misp-workers:*' >/dev/null 2>&1
            [ "$are_aside" = no ] || take_jobs_back
            die "drain limit: jobs still run after $drain_timeout s, so the workers were not restarted: $left. Run again later, or raise drain_timeout"
        fi
        [ -n "$idle" ] || sleep 1
    done
    [ "$are_aside" = no ] || take_jobs_back || die "no job is lost, but run again when Redis is well: these workers are stopped, and no worker takes what is set aside"
}

take_jobs_back() { freeze_idle_workers; } # none of them; it ends with nothing aside

live_workers() { # "NAME PID" a line; PID is 0 between two attempts to start it
    ctl status 2>/dev/null | awk '$1 ~ /^misp-workers:/ && $2 ~ /RUNNING|STARTING|BACKOFF/ {
        sub(/,/, "", $4); print $1, $3 == "pid" ? $4 : 0 }'
}

# PID...: prints those that wait for a job, or do so within some seconds, frozen until thaw. What an
# earlier call had set aside is back in its list then, or the status is 1.
freeze_idle_workers() {
    printf '{%s,"pids":[%s]}' "$(misp_input)" "$(echo "$@" | tr ' ' ',')" |
        php_as_web_user "$php_freeze_workers"
}

stop_frozen_workers() { # NAME...; a frozen process takes the TERM when it is thawed, and does nothing before
    ctl stop "$@" >/dev/null 2>&1 &
    stopper=$!
    while kill -0 "$stopper" 2>/dev/null; do
        for pid in $frozen; do
            if has_term_pending "$pid"; then kill -CONT "$pid" 2>/dev/null; fi
        done
        sleep 0.1
    done
    for pid in $frozen; do kill -CONT "$pid" 2>/dev/null; done
}

has_term_pending() { grep -qs '^ShdPnd:.*[4-7c-f]...$' "/proc/$1/status"; } # PID; TERM is 15, so bit 14

# PIDs of the new backend's jobs, by the one variable that BackgroundJob.php leaves them.
jobs_of_misp() {
    grep -lsa 'BACKGROUND_JOB_ID=' /proc/[0-9]*/environ 2>/dev/null | while IFS= read -r file; do
        pid=${file#/proc/}
        ! is_in_a_container "${pid%/environ}" || continue
        case "$(readlink "${file%/environ}/cwd" 2>/dev/null)/" in
            "$misp_root"/* | "$real_root"/*) printf '%s ' "${pid%/environ}" ;;
        esac
    done
}

# Workers of a supervisord that was killed: Debian's unit leaves them (KillMode=process), they go on
# taking jobs, and nobody counts, logs or stops them. A job does not have supervisor's variables. They
# belong to PID 1 then, as those of another MISP's supervisord, or of one in a container, do not.
stray_workers() { # PIDs, one a line
    grep -lsa 'SUPERVISOR_GROUP_NAME=misp-workers' /proc/[0-9]*/environ 2>/dev/null | while IFS= read -r file; do
        pid=${file#/proc/}
        pid=${pid%/environ}
        see_process "$pid" || continue
        [ "$parent" -ne 1 ] || is_in_a_container "$pid" || printf '%s\n' "$pid"
    done
}

end_stray_workers() { # each when it has no job
    limit=$(($(date +%s) + drain_timeout))
    while strays=$(stray_workers) && [ -n "$strays" ]; do
        # shellcheck disable=SC2086  # a list of words
        for pid in $(freeze_idle_workers $strays); do
            kill "$pid" && kill -CONT "$pid"
        done
        [ "$(date +%s)" -lt "$limit" ] || die "workers of an earlier supervisord still run a job after $drain_timeout s: PIDs $(printf '%s' "$strays" | tr '\n' ' '). Run again later"
        sleep 0.5
    done
}
