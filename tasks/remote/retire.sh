# Stop the old workers without cutting a job, and keep them from coming back.
# QUIT lets a worker finish its job; TERM, which `systemctl stop` sends to units without ExecStop,
# kills the job. Restart=always would start them again, so a drop-in in /run (gone at a reboot,
# like the rest of a half-done stop) takes the unit's reflexes away first. Other launchers are
# taken out of use in their files, see launchers.sh.
# shellcheck shell=sh disable=SC2154

# legacy_units prints one name a line; no unit name holds a blank.
units=$(legacy_units)
in_use=$(for unit in $units; do
    if systemctl is-active -q "$unit" || systemctl is-enabled -q "$unit" 2>/dev/null; then printf '%s ' "$unit"; fi
done)

let_units_go() {
    for unit in $units; do let_unit_go "$unit"; done
    systemctl daemon-reload
}

start_again() { # what ran before, or does at boot; a unit that remains after exit has to be restarted for it
    let_units_go
    for unit in $in_use; do systemctl restart "$unit"; done
    put_launchers_back
}

strangers_in() { # UNIT: PIDs of PHP processes there that are no workers, nor have just ended
    known=" $(legacy_processes | cut -d' ' -f1 | tr '\n' ' ')"
    for directory in /proc/[0-9]*; do
        first_line "$directory/comm" && [ -e "$directory/exe" ] || continue
        pid=${directory#/proc/}
        case $line,$known in *" $pid "*) continue ;; php*) ;; *) continue ;; esac
        if [ "$(unit_of "$pid")" = "$1" ] && ! is_in_a_container "$pid"; then printf '%s ' "$pid"; fi
    done
}

[ -z "$(hidden_processes)" ] || die "root may not look at these processes, which may be old workers: $(hidden_processes | tr '\n' ' ')"
make_state_dir
often() { # where it is a job, and not a Redis that does not answer
    case $left in *'"error"'*) ;; *) printf '%s' "$causes" ;; esac
}
causes="If that comes again and again, something enqueues there by settings from before: a PHP of the web tier with a cached config.php, another host's MISP on the same Redis, or a cake command that ran all along"
counted=tasks # where jobs are converted, MISP's scheduled tasks stay behind
[ "$on_leftover_jobs" != convert ] || counted=
! old_work_left "$counted" || die "drain limit: the old backend has work again, or does not answer: $left. Nothing was stopped; run again to wait for it. $(often)"
for unit in $units; do
    strangers=$(strangers_in "$unit")
    [ -z "$strangers" ] || die "$unit also runs PHP processes that are no workers as CakeResque starts them (php ./bin/resque): $strangers. They would live on, so nothing was stopped: see what they are, end them, and run again"
done
for unit in $units; do
    keep_unit "$unit"
    hold_unit "$unit"
done
systemctl daemon-reload
if [ -z "$in_use" ] && [ -n "$(legacy_processes)" ]; then record_launcher ran; fi
take_out_launchers
signal_old_workers QUIT
limit=$(($(date +%s) + drain_timeout))
while [ -n "$(legacy_processes)" ]; do
    if [ "$(date +%s)" -ge "$limit" ]; then
        die "drain limit of $drain_timeout s reached, old workers still run: $(legacy_processes | tr '\n' ';'). They leave after their job; run again then"
    fi
    nap
done
if [ "$on_leftover_jobs" = convert ] && old_work_left; then convert_old_jobs; fi
if old_work_left "$counted"; then
    start_again
    die "drain limit: a job reached the old backend while its workers stopped: $left. They were started again; run again to wait for it. $(often)"
fi
for unit in $units; do
    systemctl stop "$unit" || die "could not stop $unit"
    systemctl disable --no-reload "$unit" 2>/dev/null || die "could not disable $unit"
    systemctl reset-failed "$unit" 2>/dev/null
done
let_units_go # which makes systemd reload
forget_old_workers
