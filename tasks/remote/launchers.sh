# What starts the old workers besides a systemd unit: lines in rc.local and crontabs, programs of
# supervisord's, or somebody's hand. $originals/launchers holds what the migration took out of use:
# "line FILE", "program:NAME FILE", and "ran" where workers lived that no unit had started.
# shellcheck shell=sh disable=SC2154,SC2016  # awk's own $

starting='worker/start(_dynamic)?[.]sh|CakeResque +(re)?start|CakeResque +load'

# A shell needs a command where one stood (`then` before `fi` is an error), so `:` stays there.
mark='#misp-workers-migration# '
unmark="s,^(: )?$mark,,"

legacy_launchers() { # "line FILE" and "program:NAME FILE": what would start this MISP's old workers
    lines=$(grep -lsE "^[^#]*($starting)" /etc/rc.local /etc/rc.d/rc.local /etc/crontab /etc/cron.d/* \
        /var/spool/cron/crontabs/* /var/spool/cron/*)
    # Each file once: EL's /etc/rc.local is a link.
    [ -z "$lines" ] || printf '%s\n' "$lines" | while IFS= read -r file; do
        printf 'line %s\n' "$(readlink -f "$file")"
    done | sort -u
    legacy_program_files
}

legacy_program_files() { # "program:NAME FILE"
    in_supervisor_files "$group_file" awk -v start="^[^;#]*($starting|bin/resque)" '
        FNR == 1 { name = "" }
        /^\[/ { name = match($0, /^\[program:[^]]+\]/) ? substr($0, 10, RLENGTH - 10) : "" }
        name != "" && $0 ~ start && !(name in seen) { seen[name]; print "program:" name " " FILENAME }'
}

in_supervisor_files() { # FILE COMMAND...: with each file but that one as a further argument
    but=$1
    shift
    for file in "$supervisor_conf" "$supervisor_include_dir"/*"$supervisor_include_suffix"; do
        if [ -f "$file" ] && [ "$file" != "$but" ]; then set -- "$@" "$file"; fi
    done
    "$@" </dev/null
}

program_names() { sed -n 's/^program:\([^ ]*\) .*/\1/p'; }

legacy_programs() { legacy_program_files | program_names; }

programs_taken_out() { # a program stays loaded until supervisord reads its file again
    if [ -f "$originals/launchers" ]; then program_names <"$originals/launchers"; fi
}

starting_lines() { grep -E "^[^#]*($starting)" "$1"; }

why_unfit() { # KIND FILE: why it cannot be taken out of use by itself, if so
    case $1 in
        line)
            if starting_lines "$2" | grep -qvF -e "$misp_root/" -e "$real_root/"; then
                printf 'a line there does not name %s/' "$misp_root"
            elif awk -v start="^[^#]*($starting)" '
                $0 ~ start && ($0 ~ /\\$/ || before ~ /\\$/) { found = 1 } { before = $0 } END { exit !found }
            ' "$2"; then
                printf 'its command goes over several lines'
            elif ! sed -E "$(taking_out "$1" "$2")" "$2" | is_sound "$2"; then
                printf 'without that line it would be no valid script'
            fi
            ;;
        *)
            if ! sed -n "$(section_lines "$1" "$2")p" "$2" | sed 's,$,/,' | grep -qF -e "$misp_root/" -e "$real_root/"; then
                printf 'its section does not name %s' "$misp_root"
            elif is_in_group "${1#program:}"; then
                printf 'it belongs to a [group:], so it cannot be stopped by itself'
            fi
            ;;
    esac
}

is_sound() { # FILE, its new text on standard input: bash, which MISP's start.sh needs, knows sh's words
    case $1 in
        */rc.local) bash -n 2>/dev/null ;;
        *) cat >/dev/null ;;
    esac
}

is_in_group() { # PROGRAM
    in_supervisor_files "$group_file" awk -v name="$1" '
        FNR == 1 { inside = 0 }
        /^\[/ { inside = /^\[group:/ }
        inside && /^programs[[:space:]]*[=:]/ {
            sub(/^[^=:]*[=:]/, ""); sub(/[[:space:]][;#].*/, ""); gsub(/[[:space:]]/, "")
            if (index("," $0 ",", "," name ",")) found = 1
        }
        END { exit !found }'
}

section_lines() { # program:NAME FILE: "FIRST,LAST"
    awk -v head="[$1]" '
        /^\[/ { if (first) exit; if (index($0, head) == 1) first = NR }
        first { last = NR }
        END { if (first) print first "," last }' "$2"
}

taking_out() { # KIND FILE: as a sed script
    case $1,$2 in
        line,*/rc.local) printf '\\,^[^#]*(%s),s,^,: %s,' "$starting" "$mark" ;;
        line,*) printf '\\,^[^#]*(%s),s,^,%s,' "$starting" "$mark" ;;
        *) printf '%ss,^,%s,' "$(section_lines "$1" "$2")" "$mark" ;;
    esac
}

# Owner, mode and label stay: a crontab belongs to its user. cron looks at the times of files and
# folders, which a file moved into place changes, and skips names that begin with a dot.
rewrite() { # FILE SED-SCRIPT
    new=$(mktemp "${1%/*}/.misp-workers.XXXXXX") || die "could not change $1"
    if cp -a "$1" "$new" && sed -E "$2" "$1" >"$new" && sync "$new" && mv -f "$new" "$1"; then return 0; fi
    rm -f "$new"
    die "could not change $1"
}

# The record comes before the change, so that a run cut off between the two is no loss.
take_out_launchers() {
    list=$state_dir/launchers-in-use
    legacy_launchers >"$list"
    while read -r kind file; do
        why=$(why_unfit "$kind" "$file")
        [ -z "$why" ] || die "the old workers are also started by $file ($why): take that out by hand"
        keep_original "$file"
        record_launcher "$kind $file"
        rewrite "$file" "$(taking_out "$kind" "$file")"
    done <"$list"
    rm -f "$list"
    daemon_is_active || return 0
    # From the record: a run may have been cut off before supervisord had read its file again.
    for name in $(programs_taken_out); do ctl update "$name" >&2; done
}

record_launcher() { # LINE
    make_originals
    grep -qsxF "$1" "$originals/launchers" || append "$originals/launchers" "$1"
}

launchers_are_out() { # whether put_launchers_back has something to do
    [ -f "$originals/launchers" ] || return 1
    while read -r kind file; do
        if [ "$kind" != ran ] && { [ ! -e "$file" ] || grep -qE "^(: )?$mark" "$file"; }; then return 0; fi
    done <"$originals/launchers"
    grep -qsx ran "$originals/launchers" && [ -z "$(legacy_processes)" ]
}

# Only our marks go, so what others changed since stays; without such changes it is byte for byte
# the file that was.
put_launchers_back() {
    [ -f "$originals/launchers" ] || return 0
    while read -r kind file; do
        [ "$kind" != ran ] || continue
        if [ ! -e "$file" ]; then
            restore_original "$file"
        elif grep -qE "^(: )?$mark" "$file"; then
            rewrite "$file" "$unmark"
        fi
        case $kind in program:*) if daemon_is_active; then ctl update "${kind#program:}" >&2; fi ;; esac
    done <"$originals/launchers"
    grep -qsx ran "$originals/launchers" || return 0
    programs=$(legacy_programs)
    [ -z "$programs" ] || old_workers_appear || start_programs
    [ -n "$(legacy_processes)" ] || start_by_hand
}

# Not as the job of rc.local or cron that it was at boot: these would run all their lines again.
# Without descriptor 9: the workers would hold this step's lock as long as they live.
start_by_hand() {
    as_web_user bash "$misp_root/app/Console/worker/start.sh" >/dev/null 2>&1 9>&- ||
        die "the old workers could not be started by app/Console/worker/start.sh as $web_user"
}

old_workers_appear() { # within ten seconds
    tries=0
    while [ -z "$(legacy_processes)" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || return 1
        sleep 0.5
    done
}

start_programs() { # one with autostart=false comes only when told
    for name in $programs; do ctl start "$name:*" >&2; done
    old_workers_appear
}

signal_old_workers() { # SIGNAL: the workers, not the forks that run a job
    live=$(legacy_processes)
    printf '%s\n' "$live" | awk 'NF { parent[$1] = $2 } END { for (pid in parent) if (!(parent[pid] in parent)) print pid }' |
        while read -r pid; do kill -"$1" "$pid" 2>/dev/null; done
}

old_jobs() { # the forks that run one
    legacy_processes | awk '{ parent[$1] = $2 } END { for (pid in parent) if (parent[pid] in parent) print pid }'
}

# A restart of supervisord TERMs its programs, EPEL's unit kills what these left behind as well,
# and TERM kills a worker's job. USR2 keeps a worker from taking another job (CONT ends that), so
# when the last job has ended there is nothing to cut; what waits in Redis waits on.
hold_old_workers() {
    if ! daemon_is_active || [ -z "$(legacy_processes)" ]; then return 0; fi
    [ -n "$(legacy_programs)$(programs_taken_out)" ] || return 0
    signal_old_workers USR2
    limit=$(($(date +%s) + drain_timeout))
    quiet=0 # a worker may have taken a job and not forked yet
    while [ "$quiet" -lt 3 ]; do
        quiet=$((quiet + 1))
        [ -z "$(old_jobs)" ] || quiet=0
        if [ "$(date +%s)" -ge "$limit" ]; then
            signal_old_workers CONT
            die "old workers under supervisord still run a job after $drain_timeout s, so supervisord was left alone and they go on. Run again later, or raise drain_timeout"
        fi
        sleep 0.5
    done
}

restart_supervisor() { # without cutting a job of old workers, and with these back afterwards
    programs=$(legacy_programs)
    lived=$(legacy_processes)
    hold_old_workers
    systemctl restart "$supervisor_unit"
    status=$?
    signal_old_workers CONT # Debian's unit leaves daemons of its programs alone
    [ "$status" -eq 0 ] || return 1
    [ -z "$programs" ] || [ -z "$lived" ] || old_workers_appear || start_programs ||
        die "supervisord was restarted, but the old workers that it runs did not come back: $(ctl status 2>&1)"
}
