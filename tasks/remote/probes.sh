# What is true on the host now: one function for each subject, each prints KEY<TAB>VALUE lines and
# changes nothing. A subject that is not there yet prints nothing or says so; it never fails.
# shellcheck shell=sh disable=SC2154

# What several subjects need is asked once, since each asking starts a PHP or a Python: topics of
# MISP's configuration and, with needs_status=yes, `supervisorctl status`.
gather() {
    [ "$waits_for_lock" = no ] || wait_for_lock
    find_password || true
    # shellcheck disable=SC2086  # a list of words
    [ -z "$misp_topics" ] || misp_answers=$(misp $misp_topics 2>/dev/null)
    if [ "$needs_status" = yes ] && daemon_is_active; then status_lines=$(ctl status 2>/dev/null); fi
}

say_status() {
    [ -n "${status_lines:-}" ] || return 0
    printf '%s\n' "$status_lines" | sed 's/^/status\t/'
    legacy_programs | sed 's/^/old_program\t/'
}

misp_answer() { # TOPIC
    [ -n "${misp_answers:-}" ] || misp_answers=$(misp "$1" 2>/dev/null)
    printf '%s\n' "$misp_answers" | sed -n "s/^$1\t//p"
}

probe_system() {
    say user "$(id -u)"
    say busy "$(lock_holder)"
    say init "$(cat /proc/1/comm)"
    say memory_kb "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)"
    say disk_kb "$(df -Pk "$misp_root/app/tmp" 2>/dev/null | awk 'NR == 2 { print $4 }')"
    say disk_var_kb "$(df -Pk /var/log /var/lib 2>/dev/null | awk 'NR > 1 { print $4 }' | sort -n | head -n 1)"
    for tool in setpriv flock; do
        command -v "$tool" >/dev/null 2>&1 && say tool "$tool"
    done
}

probe_misp() {
    [ -d "$misp_root" ] && say root "$misp_root"
    [ -f "$misp_root/VERSION.json" ] && say version "$(cat "$misp_root/VERSION.json")"
    [ -f "$config_php" ] && say config "$(stat -c '%U %G %a' "$config_php")"
    [ -x "$misp_root/app/Console/cake" ] && say cake "$misp_root/app/Console/cake"
    [ -d "$misp_root/app/tmp/logs" ] && say logs "$(stat -c '%U' "$misp_root/app/tmp/logs")"
    if [ -f "$misp_root/app/composer.phar" ]; then
        say composer "php composer.phar"
    elif command -v composer >/dev/null 2>&1; then
        say composer composer
    fi
    id -u "$web_user" >/dev/null 2>&1 && say web_user "$web_user" "$(id -gn "$web_user")"
}

# A job gets no PATH from its worker, so bash's own default decides which php it finds.
job_php() { PATH=/usr/local/bin:/usr/bin:/bin command -v php; }

php_version() { "$1" -v 2>&1 </dev/null | sed -n 's/^PHP \([0-9][0-9.]*\).*/\1/p' | head -n 1; }

probe_php() {
    php=$(job_php) || { command -v php; return 0; }
    say php "$php"
    say php_version "$(php_version "$php")"
    "$php" -m 2>/dev/null </dev/null | sed 's/^/extension\t/'
}

probe_web() {
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        read -r comm 2>/dev/null <"$directory/comm" || continue
        case $comm in
            php-fpm*) ;;
            apache2 | httpd) grep -q 'libphp' "$directory/maps" 2>/dev/null || continue ;;
            *) continue ;;
        esac
        say web "$(stat -c %U "$directory" 2>/dev/null)" "$(start_ticks "$pid")" "$(unit_of "$pid")"
    done
    [ -f "$state_dir/settings-changed" ] && say settings_changed "$(cat "$state_dir/settings-changed")"
    [ -f "$state_dir/web-reloaded" ] && say web_reloaded "$(cat "$state_dir/web-reloaded")"
    say boot "$(cat /proc/sys/kernel/random/boot_id)"
}

unit_of() { # PID: its systemd unit, from its control group
    sed -n 's|.*/\([^/]*\.service\)\(/.*\)\{0,1\}$|\1|p' "/proc/$1/cgroup" 2>/dev/null | head -n 1
}

probe_packages() {
    # shellcheck disable=SC2086  # both are lists of words
    $package_query $package_names 2>/dev/null | while IFS= read -r line; do say package "$line"; done
    supervisor_version
    [ -L "/run/systemd/system/$supervisor_unit.service" ] && say masked "$supervisor_unit"
    return 0
}

# From the package database where it knows supervisor: supervisord itself takes a Python to say it.
supervisor_version() {
    command -v supervisord >/dev/null 2>&1 || return 0
    # shellcheck disable=SC2086  # a list of words
    version=$($package_query $supervisor_package 2>/dev/null | awk '$2 == "installed" { print $3 }')
    say supervisor_version "${version:-$(supervisord --version 2>/dev/null)}"
}

probe_libraries() {
    as_web_user php -d display_errors=stderr -r "$php_libraries" -- "$misp_root" 2>/dev/null
    [ -d "$state_dir/composer-backup" ] && say composer_unfinished yes
    return 0
}

probe_supervisor() {
    supervisor_version
    [ -f "$supervisor_conf" ] && say conf "$supervisor_conf"
    say unit_state "$(systemctl is-active "$supervisor_unit" 2>/dev/null)" \
        "$(systemctl is-enabled "$supervisor_unit" 2>/dev/null)"
    say include "$(section_of "$supervisor_conf" include files)"
    for file in "$supervisor_conf" "$supervisor_include_dir"/*"$supervisor_include_suffix"; do
        [ "$file" != "$group_file" ] || continue
        grep -qE '^\[(group:misp-workers|program:(default|prio|email|cache|update|scheduler))\]' "$file" 2>/dev/null &&
            say group_elsewhere "$file"
    done
    [ -f "$group_file" ] && say group_root "$(section_of "$group_file" program:default directory)"
    say socket "$(section_of "$supervisor_conf" unix_http_server file)"
    if file=$(foreign_inet_file); then
        address=$(section_of "$file" inet_http_server port)
        say inet_elsewhere "$file" "$address" "$(section_of "$file" inet_http_server username)"
        rpc_port=${address##*:}
        # shellcheck disable=SC2034  # ask_rpc takes it
        rpc_user=$(section_of "$file" inet_http_server username)
        daemon_is_active && find_password && say inet_answer "$(ask_rpc)"
    fi
    for pid in $(listeners "$rpc_port"); do
        say listener "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)" "$(unit_of "$pid")"
    done
    is_listening "$rpc_port" && say listening yes
    say daemon_pid "$(daemon_pid)"
    say_status
}

is_listening() { # PORT on the loopback or on every address
    hex=$(printf '%04X' "$1")
    awk -v port="$hex" '$4 == "0A" && $2 ~ ":" port "$" { found = 1 } END { exit !found }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

listeners() { # PIDs that listen on PORT, by the socket's inode
    hex=$(printf '%04X' "$1")
    # shellcheck disable=SC2013  # words are what it prints
    for inode in $(awk -v port="$hex" '$4 == "0A" && $2 ~ ":" port "$" { print $10 }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
        find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" 2>/dev/null | cut -d/ -f3
    done | sort -un
}

probe_rpc() {
    [ -f "$rpc_file" ] && say file_mode "$(stat -c '%U:%G %a' "$rpc_file")"
    say unit_state "$(systemctl is-active "$supervisor_unit" 2>/dev/null)" \
        "$(systemctl is-enabled "$supervisor_unit" 2>/dev/null)"
    if find_password; then
        say password known
        [ -f "$rpc_file" ] && [ "$(rpc_text)" = "$(cat "$rpc_file")" ] && say file current
        command -v supervisord >/dev/null 2>&1 && say answer "$(ask_rpc)"
    fi
    say daemon_pid "$(daemon_pid)"
    say_status
}

rpc_text() { # the include file as it should be; the hash is in no command's arguments
    hash=$(printf %s "$password_in_use" | sha1sum | cut -d' ' -f1)
    case $rpc_template in
        *"$password_token"*)
            printf '%s' "${rpc_template%%"$password_token"*}$hash${rpc_template#*"$password_token"}"
            ;;
        *) printf '%s' "$rpc_template" ;;
    esac
}

probe_settings() {
    say settings "$(misp_answer settings)"
    [ -s "$state_dir/pending-password" ] && say pending yes
    return 0
}

probe_redis() {
    say redis "$(misp_answer redis)"
}

probe_workers() {
    [ -f "$group_file" ] && say file "$(stat -c '%U:%G %a' "$group_file")" "$(sha256sum <"$group_file" | cut -d' ' -f1)"
    say log_dir "$(stat -c '%U:%G %a' "$log_dir" 2>/dev/null)"
    say applied "$(cat "$state_dir/workers-applied" 2>/dev/null)"
    stray_workers | while IFS= read -r pid; do say stray "$pid"; done
    say_status
}

probe_proof() {
    say proven "$(cat "$state_dir/proven" 2>/dev/null)"
    say evidence "$(evidence)"
    say_status
    say get_workers "$(as_web_user timeout 60 "$misp_root/app/Console/cake" Admin getWorkers 2>/dev/null)"
}

# What a proof holds for: the group file, where the queues are, MISP's and PHP's version. Another
# value of any of them and the next run proves the set again.
evidence() {
    {
        cat "$group_file" "$misp_root/VERSION.json"
        misp_answer evidence
        php_version "$(job_php)"
    } 2>/dev/null | sha256sum | cut -d' ' -f1
}

probe_selinux() {
    say mode "$(getenforce 2>/dev/null || echo Absent)"
    say built "$(cat "$state_dir/selinux-module" 2>/dev/null)"
    [ "$(getenforce 2>/dev/null || echo Disabled)" != Disabled ] || return 0
    semodule -l 2>/dev/null | grep -q '^misp-workers-httpd' && say module loaded
    say cake_label "$(stat -c %C "$misp_root/app/Console/cake" 2>/dev/null | cut -d: -f3)"
    say cake_rule "$(matchpathcon -n "$misp_root/app/Console/cake" 2>/dev/null | cut -d: -f3)"
    say network "$(getsebool httpd_can_network_connect 2>/dev/null | sed 's/.*> //')"
}

probe_legacy() {
    say legacy "$(misp_answer legacy)"
    legacy_units | while IFS= read -r unit; do
        say unit "$unit" "$(systemctl is-active "$unit" 2>/dev/null)" "$(systemctl is-enabled "$unit" 2>/dev/null)"
        systemctl cat "$unit" >/dev/null 2>&1 || say no_unit "$unit"
        [ -e "/run/systemd/system/$unit.d/50-misp-workers.conf" ] && say stopping "$unit"
    done
    legacy_processes | while IFS= read -r line; do say process "$line"; done
    hidden_processes | while IFS= read -r line; do say hidden_process "$line"; done
    legacy_launchers | while read -r kind file; do
        say launcher "$file"
        why=$(why_unfit "$kind" "$file")
        [ -z "$why" ] || say unfit_launcher "$file ($why)"
    done
    # Their workers may live on, if a run was cut off there.
    programs_taken_out | while IFS= read -r name; do say program_taken_out "$name"; done
    legacy_processes | while read -r pid _; do unit_of "$pid"; done | sort -u |
        while IFS= read -r unit; do say started_in "$unit"; done
}

start_script="worker/start(_dynamic)?\.sh|CakeResque"

legacy_units() { # by what ExecStart runs, under whatever name
    {
        [ -z "$legacy_service" ] || printf '%s\n' "${legacy_service%.service}.service"
        grep -sE "^[[:space:]]*ExecStart=.*($start_script)" /etc/systemd/system/*.service \
            /run/systemd/system/*.service /usr/local/lib/systemd/system/*.service \
            /usr/lib/systemd/system/*.service /lib/systemd/system/*.service |
            grep -F -e "$misp_root/" -e "$real_root/" | sed 's|:.*||; s|.*/||'
    } | sort -u
}

# PIDs of php processes of php-resque, whoever's: `php ./bin/resque` and its scheduler. The shell
# around each is left out, as it ends with its worker.
resque_processes() {
    grep -lsa 'bin/resque' /proc/[0-9]*/cmdline 2>/dev/null | while IFS= read -r file; do
        arguments=$(tr '\0' ' ' 2>/dev/null <"$file")
        case ${arguments%% *} in
            *php*) file=${file%/cmdline}; printf '%s\n' "${file#/proc/}" ;;
        esac
    done
}

# "PID PARENT" of this MISP's, by their working directory: their command line names neither MISP
# nor a queue.
legacy_processes() {
    for pid in $(resque_processes); do
        case "$(readlink "/proc/$pid/cwd" 2>/dev/null)/" in
            "$misp_root"/* | "$real_root"/*)
                printf '%s %s\n' "$pid" "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f2)"
                ;;
        esac
    done
}

# PIDs that may be this MISP's, but that root may not look at (a container without SYS_PTRACE).
hidden_processes() {
    for pid in $(resque_processes); do
        readlink "/proc/$pid/cwd" >/dev/null 2>&1 || [ ! -d "/proc/$pid" ] || printf '%s\n' "$pid"
    done
}

probe_originals() {
    [ -d "$originals" ] && say kept yes
    launchers_are_out && say launchers out
    [ -f "$originals/units" ] || return 0
    grep -v "^$supervisor_unit.service " "$originals/units" | while read -r unit active enabled; do
        say unit_before "$unit" "$active" "$enabled"
        say unit_now "$unit" "$(systemctl is-active "$unit" 2>/dev/null)" "$(systemctl is-enabled "$unit" 2>/dev/null)"
    done
    return 0
}

probe_new_backend() {
    say waiting "$(misp_answer redis)"
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
