# What is true on the host now: one function for each subject, each prints KEY<TAB>VALUE lines and
# changes nothing. A subject that is not there yet prints nothing or says so; it never fails.
# shellcheck shell=sh disable=SC2154

await_actions() { [ "$waits_for_lock" = no ] || wait_for_lock; }

# What several subjects need is asked once: the package database, systemd and, in one process, PHP.
# That takes as long as the subjects that do without it, which are looked at meanwhile.
see_rpc() { # how supervisord is asked
    see_inet_server
    given_password || true
}

misp_topics() { # PHP's answers, for gather, which reads them from descriptor 4
    [ "$needs_status" = no ] || ! command -v supervisord >/dev/null 2>&1 || topics="rpc status $topics"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$topics" ] || misp $topics 2>/dev/null
}

gather() {
    if [ "$needs_status" = yes ]; then
        see_packages
        see_daemon
    fi
    take_answers "$(cat <&4)"
    knows_password || password_in_use=${answer_password:-}
    if [ "$needs_status" = yes ]; then see_status; fi
}

take_answers() { # PHP's "TOPIC<TAB>ANSWER" lines: into $answer_TOPIC, as many lines as it has
    set -f
    IFS=$newline
    for line in $1; do
        topic=${line%%"$tab"*}
        case $topic in '' | *[!a-z_]*) continue ;; esac
        eval "answer_$topic=\${answer_$topic:+\$answer_$topic\$newline}\${line#*\"\$tab\"}"
    done
    unset IFS
    set +f
}

see_inet_server() { # an [inet_http_server] that is not ours is the one to be asked
    inet_file=$(foreign_inet_file)
    [ -n "$inet_file" ] || return 0
    inet_address=$(section_of "$inet_file" inet_http_server port)
    rpc_port=${inet_address##*:}
    rpc_user=$(section_of "$inet_file" inet_http_server username)
}

see_packages() {
    # shellcheck disable=SC2086  # both are lists of words
    packages_here=${packages_here-$($package_query $package_names 2>/dev/null)}
}

see_daemon() { # $daemon, its PID, and $daemon_state, as in "active enabled"
    see_unit "$supervisor_unit"
    daemon=$main_pid
    daemon_state=$unit_state
}

see_unit() { # UNIT: $unit_state, $main_pid, $is_there
    main_pid=
    active=
    is_there=yes
    for line in $(systemctl show -p LoadState -p ActiveState -p MainPID "$1" 2>/dev/null); do
        case $line in
            LoadState=not-found) is_there=no ;;
            ActiveState=*) active=${line#*=} ;;
            MainPID=*) main_pid=${line#*=} ;;
        esac
    done
    # systemd's own idea of whether a unit is enabled is as old as its last reload.
    unit_state="$active $(systemctl is-enabled "$1" 2>/dev/null)"
}

daemon_was_active() { [ "${daemon_state%% *}" = active ]; }

# From the RPC where it is this very supervisord's: supervisorctl is a Python.
see_status() {
    daemon_was_active || return 0
    status_lines='{"error"'
    ! rpc_is_the_daemons || status_lines=${answer_status:-}
    case $status_lines in '{"error"'*) status_lines=$(ctl status 2>/dev/null) ;; esac
}

rpc_is_the_daemons() { [ "${answer_rpc:-}" = "200 $daemon" ]; }

say_status() { say_each status "${status_lines:-}"; }

say_each() { # KEY LINES
    set -f
    IFS=$newline
    for line in $2; do printf '%s\t%s\n' "$1" "$line"; done
    unset IFS
    set +f
}

probe_system() {
    say busy "$(lock_holder)"
    first_line /proc/1/comm && say init "$line"
    while read -r name kb _; do
        if [ "$name" = MemAvailable: ]; then say memory_kb "$kb" && break; fi
    done </proc/meminfo
    say disk_kb "$(free_kb "$misp_root/app/tmp")"
    say disk_var_kb "$(free_kb /var/log /var/lib)"
    for tool in setpriv flock; do
        command -v "$tool" >/dev/null 2>&1 && say tool "$tool"
    done
}

free_kb() { # PATH...: the least of what is free there
    df -Pk "$@" 2>/dev/null | {
        read -r _ # the heading
        least=
        while read -r _ _ _ free _; do
            case $free in '' | *[!0-9]*) continue ;; esac
            if [ "$free" -lt "${least:-$((free + 1))}" ]; then least=$free; fi
        done
        printf '%s' "$least"
    }
}

probe_misp() {
    [ -d "$misp_root" ] && say root "$misp_root"
    [ -f "$misp_root/VERSION.json" ] && say version "$(cat "$misp_root/VERSION.json")"
    [ -f "$config_php" ] && say config "$(stat -Lc '%U %G %a' "$config_php")"
    [ -x "$misp_root/app/Console/cake" ] && say cake "$misp_root/app/Console/cake"
    [ -d "$misp_root/app/tmp/logs" ] && say logs "$(stat -c '%U' "$misp_root/app/tmp/logs")"
    [ -f "$misp_root/app/Console/cake.php" ] && say cake_php yes
    if [ -f "$misp_root/app/composer.phar" ]; then
        say composer "php composer.phar"
    elif composer_here=$(PATH=$PATH:/usr/local/bin command -v composer); then # which sudo may leave out
        say composer "$composer_here"
    fi
    [ -z "$web_group" ] || say web_user "$web_user" "$web_group"
}

# A job gets no PATH from its worker, so bash's own default decides which php it finds.
see_php() { # $php, $php_version, $extensions
    php=$(PATH=/usr/local/bin:/usr/bin:/bin command -v php) || return 1
    if [ "$php" = "$(command -v php)" ]; then # the one that was asked already
        php_version=${answer_php_version:-}
        extensions=${answer_extension:-}
    fi
    php_version=${php_version:-$("$php" -v 2>&1 </dev/null | sed -n 's/^PHP \([0-9][0-9.]*\).*/\1/p' | head -n 1)}
    extensions=${extensions:-$("$php" -m 2>/dev/null </dev/null)}
}

probe_php() {
    see_php || { say php "$(command -v php)"; return 0; }
    say php "$php"
    say php_version "$php_version"
    say_each extension "$extensions"
}

probe_web() {
    # shellcheck disable=SC2046  # a list of words; one process for all of what may be hundreds
    set -- $(web_directories)
    [ $# -eq 0 ] || stat -c '%n %U' "$@" 2>/dev/null | while read -r directory user; do
        pid=${directory#/proc/}
        is_in_a_container "$pid" && continue
        see_process "$pid" || continue
        say web "$user" "$started" "$(unit_of "$pid")"
    done
    say_line settings_changed "$state_dir/settings-changed"
    say_line web_reloaded "$state_dir/web-reloaded"
    say_line boot /proc/sys/kernel/random/boot_id
}

web_directories() { # /proc/PID of PHP-FPM's processes, and of Apache's if PHP is a module in them
    for directory in /proc/[0-9]*; do
        first_line "$directory/comm" || continue
        case $line in
            php-fpm | php-fpm[0-9]*) printf '%s\n' "$directory" ;;
            apache2 | httpd) set -- "$@" "$directory/maps" ;;
        esac
    done
    [ $# -eq 0 ] || grep -ls libphp "$@" | sed 's,/maps$,,'
}

say_line() { # KEY FILE: its first line, nothing where there is no file
    ! first_line "$2" || say "$1" "$line"
}

unit_of() { # PID: the innermost systemd unit in the names of its control groups
    while IFS= read -r line; do
        while case $line in */*) true ;; *) false ;; esac do
            case $line in *.service) printf '%s\n' "${line##*/}" && return 0 ;; esac
            line=${line%/*}
        done
    done 2>/dev/null <"/proc/$1/cgroup"
}

probe_packages() {
    see_packages
    say_each package "$packages_here"
    supervisor_version
    [ -L "/run/systemd/system/$supervisor_unit.service" ] && say masked "$supervisor_unit"
    return 0
}

# From the package database where it knows supervisor: supervisord itself takes a Python to say it.
supervisor_version() {
    command -v supervisord >/dev/null 2>&1 || return 0
    if [ -z "${version_here:-}" ]; then
        while read -r name installed version; do
            case $name,$installed in "$supervisor_package,installed") version_here=$version ;; esac
        done <<PACKAGES
$packages_here
PACKAGES
        version_here=${version_here:-$(supervisord --version 2>/dev/null)}
    fi
    say supervisor_version "$version_here"
}

probe_libraries() {
    say_each class "${answer_class:-}"
    say libraries "${answer_libraries:-}"
    [ -d "$state_dir/composer-backup" ] && say composer_unfinished yes
    return 0
}

probe_supervisor() {
    supervisor_version
    [ -f "$supervisor_conf" ] && say conf "$supervisor_conf"
    say unit_state "$daemon_state"
    say include "$(section_of "$supervisor_conf" include files)"
    say_each group_elsewhere "$(in_supervisor_files "$group_file" \
        grep -lsE '^\[(group:misp-workers|program:(default|prio|email|cache|update|scheduler))\]')"
    if [ -f "$group_file" ]; then
        say group_root "$(as_misp_root "$(section_of "$group_file" program:default directory)")"
        say_each group_section "$(odd_group_sections)"
    fi
    say socket "$(section_of "$supervisor_conf" unix_http_server file)"
    if [ -n "$inet_file" ]; then
        say inet_elsewhere "$inet_file" "$inet_address" "$rpc_user"
        daemon_was_active && knows_password && say inet_answer "${answer_rpc:-}"
    fi
    say_listeners
    say daemon_pid "$daemon"
    say_status
    say_owners
}

as_misp_root() { # DIRECTORY: in the words of the inventory, if it is the same one
    if [ "$1" != "$misp_root" ] && [ -n "$1" ] && [ "$(readlink -f "$1")" = "$real_root" ]; then
        printf '%s' "$misp_root"
    else
        printf '%s' "$1"
    fi
}

odd_group_sections() { # in the group's file: what is neither the group nor one of its programs
    awk '
        /^\[/ { head = $0; sub(/\].*/, "]", head); heads[++count] = head }
        head == "[group:misp-workers]" && /^programs[[:space:]]*[=:]/ {
            listed = $0
            sub(/^[^=:]*[=:]/, "", listed); sub(/[[:space:]][;#].*/, "", listed); gsub(/[[:space:]]/, "", listed)
        }
        END {
            for (i = 1; i <= count; i++) {
                name = heads[i]
                is_program = sub(/^\[program:/, "", name) && sub(/\]$/, "", name)
                if (heads[i] != "[group:misp-workers]" && !(is_program && index("," listed ",", "," name ",")))
                    print heads[i]
            }
        }' "$group_file" 2>/dev/null
}

say_owners() { # of the workers that run
    set --
    while read -r name _ _ pid _; do
        case $name$pid in misp-workers:*[0-9],) set -- "$@" "/proc/${pid%,}" ;; esac
    done <<LINES
${status_lines:-}
LINES
    [ $# -eq 0 ] || say worker_user "$(stat -c %U "$@" 2>/dev/null)"
}

say_listeners() { # on the RPC's port; to look for its holder takes a look at every open file
    if [ "$supervisor_transport" = tcp ] && rpc_is_the_daemons; then
        holding=$daemon
    else
        sockets=$(listening_sockets "$rpc_port")
        [ -n "$sockets" ] || return 0
        holding=$(holders "$sockets")
    fi
    say listening yes
    for pid in $holding; do
        first_line "/proc/$pid/comm"
        say listener "$pid" "$line" "$(unit_of "$pid")"
    done
}

listening_sockets() { # PORT: their inodes
    hex=$(printf '%04X' "$1")
    awk -v port="$hex" '$4 == "0A" && $2 ~ ":" port "$" { print $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

holders() { # INODES of sockets: PIDs
    for inode in $1; do
        find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" 2>/dev/null | cut -d/ -f3
    done | sort -un
}

probe_rpc() {
    [ -f "$rpc_file" ] && say file_mode "$(stat -c '%U:%G %a' "$rpc_file")"
    say unit_state "$daemon_state"
    if knows_password; then
        say password known
        [ -f "$rpc_file" ] && [ "$(rpc_text)" = "$(cat "$rpc_file")" ] && say file current
        say answer "${answer_rpc:-}"
    fi
    say daemon_pid "$daemon"
    say_status
}

rpc_text() { # the include file as it should be; the hash is in no command's arguments
    hash=$(printf %s "$password_in_use" | sha1sum)
    hash=${hash%% *}
    case $rpc_template in
        *"$password_token"*)
            printf '%s' "${rpc_template%%"$password_token"*}$hash${rpc_template#*"$password_token"}"
            ;;
        *) printf '%s' "$rpc_template" ;;
    esac
}

probe_settings() {
    say settings "${answer_settings:-}"
    [ -s "$state_dir/pending-password" ] && say pending yes
    return 0
}

probe_redis() {
    say redis "${answer_redis:-}"
}

probe_workers() {
    [ -f "$group_file" ] && say file "$(stat -c '%U:%G %a' "$group_file")" "$(digest "$group_file")"
    say log_dir "$(stat -c '%U:%G %a' "$log_dir" 2>/dev/null)"
    say_line applied "$state_dir/workers-applied"
    say_each stray "$(stray_workers)"
    say_status
}

probe_proof() {
    say_line proven "$state_dir/proven"
    say evidence "$(evidence)"
    say_status
}

probe_view() {
    read -r viewer <&3 || viewer=
    # MISP waits for Redis as long as PHP lets it: no use to wait with it when Redis is silent.
    case ${answer_redis:-} in
        '{"error"'*) [ -z "$viewer" ] || kill "$viewer" ;;
        *) say get_workers "$(cat <&3)" ;;
    esac
}

misp_view() { # its PID and then MISP's answer, for probe_view, which reads both from descriptor 3
    # shellcheck disable=SC2016  # the other shell's variables
    as_web_user sh -c 'echo $$; exec timeout 60 "$1" Admin getWorkers' sh "$misp_root/app/Console/cake" 2>/dev/null
}

# What a proof holds for: the group file, where the queues are, MISP's and PHP's version. Another
# value of any of them and the next run proves the set again.
evidence() {
    see_php
    {
        cat "$group_file" "$misp_root/VERSION.json"
        printf '%s\n%s\n' "$answer_evidence" "$php_version"
    } 2>/dev/null | sha256
}

probe_selinux() {
    mode=$(getenforce 2>/dev/null || echo Absent)
    say mode "$mode"
    say_line built "$state_dir/selinux-module"
    case $mode in Absent | Disabled) return 0 ;; esac
    semodule -l 2>/dev/null | grep -q '^misp-workers-httpd' && say module loaded
    say cake_label "$(stat -c %C "$misp_root/app/Console/cake" 2>/dev/null | cut -d: -f3)"
    say cake_rule "$(matchpathcon -n "$misp_root/app/Console/cake" 2>/dev/null | cut -d: -f3)"
    say network "$(getsebool httpd_can_network_connect 2>/dev/null | sed 's/.*> //')"
}

probe_legacy() {
    say legacy "${answer_legacy:-}"
    legacy_units | while IFS= read -r unit; do
        see_unit "$unit"
        say unit "$unit" "$unit_state"
        [ "$is_there" = yes ] || say no_unit "$unit"
        [ -e "/run/systemd/system/$unit.d/50-misp-workers.conf" ] && say stopping "$unit"
    done
    candidates=$(resque_processes)
    processes=$(of_this_misp "$candidates")
    say_each process "$processes"
    say_each hidden_process "$(hidden_among "$candidates")"
    say_each old_program "$(legacy_program_files)"
    legacy_launchers | while IFS= read -r file; do
        say launcher "$file"
        why=$(why_unfit "$file")
        [ -z "$why" ] || say unfit_launcher "$file ($why)"
    done
    [ -f "$originals/launchers" ] && say taken_out yes
    [ -z "$processes" ] || printf '%s\n' "$processes" | while read -r pid _; do unit_of "$pid"; done | sort -u |
        while IFS= read -r unit; do say started_in "$unit"; done
}

start_script="worker/start(_dynamic)?\.sh|CakeResque"

legacy_units() { # by what ExecStart runs, under whatever name
    set -- /etc/systemd/system/*.service /run/systemd/system/*.service \
        /usr/local/lib/systemd/system/*.service /usr/lib/systemd/system/*.service
    [ -L /lib ] || set -- "$@" /lib/systemd/system/*.service # else it is the one before
    {
        [ -z "$legacy_service" ] || printf '%s\n' "${legacy_service%.service}.service"
        grep -HsE "^[[:space:]]*ExecStart=.*($start_script)" "$@" | while IFS= read -r line; do
            file=${line%%:*}
            case $line in *"$misp_root/"* | *"$real_root/"*) printf '%s\n' "${file##*/}" ;; esac
        done
    } | sort -u
}

# PIDs of php processes of php-resque, whoever's: `php ./bin/resque` and its scheduler. The shell
# around each is left out, as it ends with its worker.
resque_processes() {
    grep -lsa 'bin/resque' /proc/[0-9]*/cmdline 2>/dev/null | while IFS= read -r file; do
        file=${file%/cmdline}
        read -r comm 2>/dev/null <"$file/comm" || continue
        case $comm in *php* | resque*) ;; *) continue ;; esac # without a process, for the many shells
        arguments=$(tr '\0' ' ' 2>/dev/null <"$file/cmdline")
        case ${arguments%% *} in # a script's own shell has the script's name
            *php*) is_in_a_container "${file#/proc/}" || printf '%s\n' "${file#/proc/}" ;;
        esac
    done
}

# "PID PARENT QUEUES" of this MISP's, by their working directory and environment: their command line
# names neither MISP nor a queue.
legacy_processes() { of_this_misp "$(resque_processes)"; }

of_this_misp() { # PIDS
    for pid in $1; do
        case "$(readlink "/proc/$pid/cwd" 2>/dev/null)/" in
            "$misp_root"/* | "$real_root"/*)
                see_process "$pid"
                printf '%s %s %s\n' "$pid" "$parent" "$(queues_of "$pid")"
                ;;
        esac
    done
}

# PID of an old worker: NAME,..., or * for all of them, as where nobody may look. The scheduler, which
# serves none, has a queue in its environment too.
queues_of() {
    ! grep -qsa 'resque-scheduler' "/proc/$1/cmdline" || { printf '_schdlr_'; return 0; }
    queues=$(sed -zn 's/^QUEUE=//p' "/proc/$1/environ" 2>/dev/null | tr -d '[:space:]\0')
    printf '%s' "${queues:-*}"
}

# PIDs that may be this MISP's, but that root may not look at (a container without SYS_PTRACE).
hidden_processes() { hidden_among "$(resque_processes)"; }

hidden_among() { # PIDS
    for pid in $1; do
        readlink "/proc/$pid/cwd" >/dev/null 2>&1 || [ ! -d "/proc/$pid" ] || printf '%s\n' "$pid"
    done
}

probe_originals() {
    [ -d "$originals" ] && say kept yes
    say_line backend_before "$originals/backend"
    launchers_are_out && say launchers out
    is_kept "$rpc_file" && say rpc_kept yes
    [ -f "$originals/units" ] || return 0
    say daemon_before "$(sed -n "s/^$supervisor_unit\.service //p" "$originals/units")"
    grep -v "^$supervisor_unit.service " "$originals/units" | while read -r unit active enabled; do
        say unit_before "$unit" "$active" "$enabled"
        say unit_now "$unit" "$(systemctl is-active "$unit" 2>/dev/null)" "$(systemctl is-enabled "$unit" 2>/dev/null)"
    done
    return 0
}

probe_new_backend() {
    say waiting "${answer_redis:-}"
    busy_workers | while IFS= read -r name; do say busy_worker "$name"; done
}

# Whether a run of the migration is under way, or was cut before its end.
probe_run_state() {
    [ -d "$state_dir" ] && say state_dir yes
    [ -d "$state_dir/composer-backup" ] && say composer_unfinished yes
    [ -f "$lock_file" ] || return 0
    flock -s -n "$lock_file" true || say at_work yes
    [ -s "$lock_file" ] && read -r _ owner since _ <"$lock_file" && say last_run "$owner since $since"
    return 0
}
