# What starts the old workers besides a systemd unit: lines in rc.local and crontabs, or somebody's
# hand. $originals/launchers holds what the migration took out of use: "line FILE", and "ran" where
# workers lived that no unit had started. A host with a program of supervisord's is refused.
# shellcheck shell=sh disable=SC2154,SC2016  # awk's own $

starting='worker/start(_dynamic)?[.]sh|CakeResque +(re)?start|CakeResque +load'

# A shell needs a command where one stood (`then` before `fi` is an error), so `:` stays there.
mark='#misp-workers-migration# '
unmark="s,^(: )?$mark,,"

legacy_launchers() { # files with lines that would start this MISP's old workers, one a line
    lines=$(grep -lsE "^[^#]*($starting)" /etc/rc.local /etc/rc.d/rc.local /etc/crontab /etc/cron.d/* \
        /var/spool/cron/crontabs/* /var/spool/cron/*)
    # Each file once: EL's /etc/rc.local is a link.
    [ -z "$lines" ] || printf '%s\n' "$lines" | while IFS= read -r file; do readlink -f "$file"; done | sort -u
}

legacy_program_files() { # "NAME FILE" of supervisord's programs that run this MISP's old workers
    in_supervisor_files "$group_file" awk -v start="^[^;#]*($starting|bin/resque)" \
        -v root="$misp_root/" -v real="$real_root/" '
        function tell() { if (name != "" && starts && ours) print name " " file }
        FNR == 1 { tell(); name = "" }
        /^\[/ {
            tell()
            name = match($0, /^\[program:[^]]+\]/) ? substr($0, 10, RLENGTH - 10) : ""
            starts = ours = 0
            file = FILENAME
        }
        $0 ~ start { starts = 1 }
        /^[^;#]/ && (index($0 "/", root) || index($0 "/", real)) { ours = 1 }
        END { tell() }'
}

in_supervisor_files() { # FILE COMMAND...: with each file but that one as a further argument
    but=$1
    shift
    for file in "$supervisor_conf" "$supervisor_include_dir"/*"$supervisor_include_suffix"; do
        if [ -f "$file" ] && [ "$file" != "$but" ]; then set -- "$@" "$file"; fi
    done
    "$@" </dev/null
}

starting_lines() { grep -E "^[^#]*($starting)" "$1"; }

why_unfit() { # FILE: why its lines cannot be taken out of use, if so
    if starting_lines "$1" | grep -qvF -e "$misp_root/" -e "$real_root/"; then
        printf 'a line there does not name %s/' "$misp_root"
    elif awk -v start="^[^#]*($starting)" '
        $0 ~ start && ($0 ~ /\\$/ || before ~ /\\$/) { found = 1 } { before = $0 } END { exit !found }
    ' "$1"; then
        printf 'its command goes over several lines'
    elif ! sed -E "$(taking_out "$1")" "$1" | is_sound "$1"; then
        printf 'without that line it would be no valid script'
    fi
}

is_sound() { # FILE, its new text on standard input: bash, which MISP's start.sh needs, knows sh's words
    case $1 in
        */rc.local) bash -n 2>/dev/null ;;
        *) cat >/dev/null ;;
    esac
}

taking_out() { # FILE: as a sed script
    case $1 in
        */rc.local) printf '\\,^[^#]*(%s),s,^,: %s,' "$starting" "$mark" ;;
        *) printf '\\,^[^#]*(%s),s,^,%s,' "$starting" "$mark" ;;
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
    while IFS= read -r file; do
        why=$(why_unfit "$file")
        [ -z "$why" ] || die "the old workers are also started by $file ($why): take that out by hand"
        keep_original "$file"
        record_launcher "line $file"
        rewrite "$file" "$(taking_out "$file")"
    done <"$list"
    rm -f "$list"
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
    done <"$originals/launchers"
    grep -qsx ran "$originals/launchers" || return 0
    [ -n "$(legacy_processes)" ] || start_by_hand
}

# Not as the job of rc.local or cron that it was at boot: these would run all their lines again.
# Without descriptor 9: the workers would hold this step's lock as long as they live.
start_by_hand() {
    as_web_user bash "$misp_root/app/Console/worker/start.sh" >/dev/null 2>&1 9>&- ||
        die "the old workers could not be started by app/Console/worker/start.sh as $web_user"
}

signal_old_workers() { # SIGNAL: the workers, not the forks that run a job
    live=$(legacy_processes)
    printf '%s\n' "$live" | awk 'NF { parent[$1] = $2 } END { for (pid in parent) if (!(parent[pid] in parent)) print pid }' |
        while read -r pid; do kill -"$1" "$pid" 2>/dev/null; done
}
