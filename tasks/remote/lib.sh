# Common part of every script that runs on a host, as root. POSIX sh: dash on Debian, bash on RHEL.
# tasks/scripts.py puts assignments of the variables used here in front, and wraps all of it into a
# function, so that nothing runs of a script that was cut off on its way.
# shellcheck shell=sh disable=SC2154  # variables are assigned in front of this text

umask 022
LC_ALL=C
export LC_ALL

newline='
'
tab=$(printf '\t')

say() { # KEY VALUE...: one line of a probe's answer
    key=$1
    shift
    case $* in
        *"$newline"* | *"$tab"*) set -- "$(one_line "$*")" ;;
    esac
    printf '%s\t%s\n' "$key" "$*"
}

one_line() ( # TEXT: its lines and tabs with blanks between them
    set -f
    IFS=$newline$tab
    # shellcheck disable=SC2086  # split on purpose
    set -- $1
    IFS=' '
    printf '%s' "$*"
)

# A process costs a busy host a millisecond or two, and the shell can read a line by itself.
first_line() { # FILE: into $line; status 1 where there is none
    line=
    IFS= read -r line 2>/dev/null <"$1" || [ -n "$line" ]
}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

config_php=$misp_root/app/Config/config.php
# shellcheck disable=SC2034  # for the scripts behind this one
real_root=$(cd "$misp_root" 2>/dev/null && pwd -P) || real_root=$misp_root
web_user=${web_user:-$(stat -Lc %U "$config_php" 2>/dev/null)}
# shellcheck disable=SC2034  # for the scripts behind this one
web_group=${web_group:-$(id -gn "$web_user" 2>/dev/null)}
IFS=: read -r _ _ web_uid web_gid _ web_home _ <<ENTRY
$(getent passwd "$web_user")
ENTRY

# MISP's own code and configuration run as the web user and never as root: config.php is PHP that
# the web user can write. setpriv, unlike sudo and runuser, writes no command line to the journal.
as_web_user() {
    [ "${web_uid:-0}" -ne 0 ] || return 1
    HOME=${web_home:-/nonexistent} USER=$web_user LOGNAME=$web_user \
        setpriv --reuid "$web_uid" --regid "$web_gid" --init-groups -- "$@"
}

# Where the new backend was when the way back switched it off, with the password: MISP's settings and
# the inventory may say something else by the time its jobs are moved back.
backend_place=$state_dir/new-backend

misp_input() { # members of PHP's input: where MISP is, and where its queues are
    first_line "$backend_place" || line=null
    printf '"root":"%s","desired":%s,"redis_place":%s' "$misp_root" "$desired_json" "$line"
}

# PHP code as an argument, its data (which may hold secrets) on standard input.
# display_errors=stderr: a warning in config.php must not end up in the JSON; and the trace of an
# exception shows the beginning of each argument, if PHP is not told otherwise.
php_as_web_user() { # CODE
    as_web_user php -d display_errors=stderr -d log_errors=0 -d zend.exception_ignore_args=1 -d memory_limit=512M -r "$1"
}

misp() { # TOPIC...: asks remote/ask.php; prints TOPIC<TAB>ANSWER lines
    password=null # MISP's own
    knows_password && password="\"$(json_text "$password_in_use")\""
    printf '{"topics":"%s",%s,"supervisor_password":%s,"rpc_port":"%s","rpc_user":"%s","rpc_socket":"%s"}' \
        "$*" "$(misp_input)" "$password" "$rpc_port" "$(json_text "$rpc_user")" "$rpc_socket" |
        php_as_web_user "$php_misp"
}

misp_value() { # TOPIC: its answer, if that is one line
    value=$(misp "$1")
    printf '%s' "${value#*"$tab"}"
}

section_of() { # FILE SECTION KEY: a value from a supervisor file, read as supervisor reads it
    # KEY = VALUE or KEY: VALUE, keys in any case; a server section may carry a name behind a colon.
    # A line that is indented more than its key goes on with the value.
    awk -v section="$2" -v key="$3" '
        function trimmed(text) {
            sub(/[[:space:]][;#].*$/, "", text)
            gsub(/^[[:space:]]+|[[:space:]]+$/, "", text)
            return text
        }
        /^[[:space:]]*([;#]|$)/ { next }
        /^\[/ {
            inside = (index($0, "[" section "]") == 1 || index($0, "[" section ":") == 1)
            name = ""
            next
        }
        { match($0, /^[[:space:]]*/); indent = RLENGTH }
        name != "" && indent > indent_of_key {
            if (inside && name == key) result = result " " trimmed($0)
            next
        }
        match($0, /[=:]/) {
            name = tolower(substr($0, 1, RSTART - 1)); gsub(/[[:space:]]/, "", name)
            indent_of_key = indent
            if (inside && name == key) result = trimmed(substr($0, RSTART + 1))
        }
        END { sub(/^ /, "", result); print result }
    ' "$1" 2>/dev/null
}

# An [inet_http_server] that is not ours: in the main file or in another include file.
foreign_inet_file() {
    in_supervisor_files "$rpc_file" awk '/^\[inet_http_server[]:]/ { print FILENAME; exit }' 2>/dev/null
}

# The password that supervisord shall ask for and MISP shall send, into $password_in_use; it is
# never printed. First that applies: the operator's, the one in an [inet_http_server] that stands
# there already, one that an interrupted run made, MISP's own. None: status 1.
find_password() {
    [ -z "${password_in_use:-}" ] || return 0
    given_password && return 0
    password_in_use=$(misp_value password)
    [ -n "$password_in_use" ]
}

knows_password() { [ -n "${password_in_use:-}" ] || [ "$supervisor_transport" = unix ]; }

given_password() { # the first three of these, or none because a socket has none
    password_in_use=$desired_password
    [ -n "$password_in_use" ] && return 0
    [ "$supervisor_transport" = tcp ] || return 0
    inet_file=${inet_file-$(foreign_inet_file)}
    if [ -n "$inet_file" ]; then
        # %% is supervisor's way of writing %.
        password_in_use=$(section_of "$inet_file" inet_http_server password | sed 's/%%/%/g')
        case $password_in_use in
            '{SHA}'* | '') ;;
            *) return 0 ;;
        esac
    elif [ -s "$state_dir/pending-password" ]; then
        password_in_use=$(cat "$state_dir/pending-password")
        return 0
    fi
    password_in_use=
    return 1
}

ask_rpc() { misp_value rpc; } # with the password in use: "200 PID", "401", "0 REASON"

json_text() {
    case $1 in
        *[\\\"]*) printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g' ;;
        *) printf '%s' "$1" ;;
    esac
}

sha256() { # of standard input
    digest=$(sha256sum)
    printf '%s\n' "${digest%% *}"
}

nap() { # between two looks: short at first, since most waits are
    naps=$((${naps:-0} + 1))
    if [ "$naps" -le 20 ]; then sleep 0.05; else sleep 0.25; fi
}

daemon_pid() { systemctl show -p MainPID --value "$supervisor_unit" 2>/dev/null; }

daemon_is_active() { [ "$(systemctl is-active "$supervisor_unit" 2>/dev/null)" = active ]; }

ctl() { timeout 120 supervisorctl -c "$supervisor_conf" "$@" </dev/null; }

# Start times come from /proc/PID/stat alone, in ticks: the one clock that a container's view of
# /proc does not change.
start_ticks() { # PID
    see_process "$1" && printf '%s\n' "$started"
}

# By the shell alone, since it is asked of every worker and of every process of the web tier.
see_process() { # PID: $parent and $started, its start time
    parent=
    started=
    read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086  # split on purpose, behind the name, which may hold blanks
    set -- ${line##*) }
    # shellcheck disable=SC2034  # for the scripts behind this one
    parent=$2
    started=${20}
}

# A container on this machine may have a MISP of its own, at the same path and with the same user. Its
# processes show here too. Where root may not look at a process's namespace it counts as this system's.
is_in_a_container() { # PID
    # shellcheck disable=SC3013  # dash and bash have -ef, which starts no process
    [ -e "/proc/$1/ns/pid" ] && ! [ "/proc/$1/ns/pid" -ef /proc/self/ns/pid ]
}

now_ticks() { # a process born now tells the time
    sh -c 'sed "s/.*) //" /proc/$$/stat | cut -d" " -f20'
}

hold_unit() { # a unit of old workers without its reflexes, until let_unit_go or a reboot
    install -d "/run/systemd/system/$1.d"
    printf '[Service]\nRestart=no\nExecStop=\nKillMode=process\nSendSIGKILL=no\n' \
        >"/run/systemd/system/$1.d/50-misp-workers.conf"
}

let_unit_go() {
    rm -f "/run/systemd/system/$1.d/50-misp-workers.conf"
    rmdir "/run/systemd/system/$1.d" 2>/dev/null
}

make_state_dir() {
    install -d -m 0700 -o root -g root "$state_dir"
}

changed() { # TICKS: the date of MISP's settings, for comparison with the web tier's processes
    printf '%s %s\n' "$(cat /proc/sys/kernel/random/boot_id)" "$1" | write_file "$state_dir/settings-changed" 0600
}

lock_file=/run/misp-workers-migration.lock # who is at work: RUN OWNER SINCE SESSION TICKS

# A script goes on after the connection that sent it is gone, so the next one waits for its end.
# And two operators must not meet: the lock belongs to a run as long as its login session lives.
hold_lock() {
    exec 9>>"$lock_file"
    flock -w 900 9 || die "a step of an earlier run is still at work on this host after 15 minutes: see what holds $lock_file"
    other=$(lock_holder)
    [ -z "$other" ] || die "$other: wait until that run has ended"
    session=$(login_session)
    printf '%s %s %s %s %s\n' "$run_id" "$run_owner" "$(date +%FT%T)" "$session" "$(start_ticks "$session")" >"$lock_file"
}

wait_for_lock() { # before looking: what a script is changing right now is not worth a look
    [ -f "$lock_file" ] || return 0
    exec 9<"$lock_file" && flock -s -w 900 9 && exec 9<&-
}

lock_holder() { # in words, if it is another run that still lives
    [ -s "$lock_file" ] || return 0
    read -r run owner since pid ticks <"$lock_file"
    # A script whose connection was gone before it began belongs to PID 1, which never ends.
    if [ "$run" != "$run_id" ] && [ "$pid" -gt 1 ] && [ -n "$ticks" ] && [ "$(start_ticks "$pid")" = "$ticks" ]; then
        printf '%s has been at work on this host since %s' "$owner" "$since"
    fi
}

login_session() { # PID of what started this script: sshd's process for the connection
    pid=$$
    while [ "$pid" -gt 1 ]; do
        case $(cat "/proc/$pid/comm") in
            *sh | sudo | su | doas | env) pid=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f2) ;;
            *) break ;;
        esac
    done
    printf '%s' "$pid"
}

drop_unfinished() { # DIRECTORY: what a loss of power left of write_file; only who has the lock writes
    rm -f "$1"/.misp-workers.??????
}

write_file() { # PATH MODE: standard input becomes the file, whole or not at all
    # The name carries no suffix that an include pattern takes for a file of its own. On disk before
    # it is renamed: a loss of power may keep the new name and drop what was not.
    drop_unfinished "${1%/*}"
    new=$(mktemp "${1%/*}/.misp-workers.XXXXXX") || return 1
    if cat >"$new" && chown root:root "$new" && chmod "$2" "$new" && sync "$new" && mv -f "$new" "$1"; then
        # A file moved into place keeps the label of where it was made.
        if command -v restorecon >/dev/null 2>&1; then restorecon "$1" 2>/dev/null || true; fi
    else
        rm -f "$new"
        return 1
    fi
}
