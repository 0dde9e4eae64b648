# The way back, in pieces: each may be repeated and does nothing where nothing is to be put back.
# shellcheck shell=sh disable=SC2154

app=$misp_root/app

restore_launchers() { # the old workers, as they were started before
    for unit in $(legacy_units); do let_unit_go "$unit"; done
    systemctl daemon-reload
    [ -f "$originals/units" ] || return 0
    while read -r unit active enabled; do
        [ "$unit" != "$supervisor_unit.service" ] || continue
        case $enabled in
            enabled*) systemctl enable "$unit" >/dev/null 2>&1 || die "could not enable $unit" ;;
        esac
        case $active in
            active | activating) systemctl start "$unit" || die "could not start $unit, see journalctl -u $unit" ;;
        esac
    done <"$originals/units"
}

# The file as it was if nobody else changed it since, else (and in the database) just `enabled` off.
restore_settings() {
    backend_is_on || is_as_we_left_it "$config_php" || return 0
    ! backend_is_on || remember_place
    changed unfinished
    ! is_as_we_left_it "$config_php" || restore_original "$config_php"
    if backend_is_on; then
        printf '{"settings":[["SimpleBackgroundJobs.enabled",false]],"supervisor_password":"","redis_password":""}' |
            (cd "$app/Console" && php_as_web_user "$php_set_settings") || die "MISP does not take the setting enabled = false"
    fi
    changed "$(now_ticks)"
}

remember_place() {
    place=$(misp_value place)
    case $place in
        '{'*) printf '%s\n' "$place" | write_file "$backend_place" 0600 || die "could not write $backend_place" ;;
        *) die "where MISP's queues are cannot be told: its configuration cannot be read" ;;
    esac
}

backend_is_on() { misp evidence 2>/dev/null | grep -q '"enabled":true'; }

remove_workers() {
    is_kept "$group_file" || return 0
    stop_idle_workers
    if [ -e "$originals/saved$group_file" ] && ! backend_is_on; then set_group_aside; else restore_original "$group_file"; fi
    if daemon_is_active; then ctl update misp-workers >&2; fi
    rm -f "$state_dir/workers-applied" "$state_dir/proven" "$state_dir/workers-previous"
}

# A worker group from before the migration: while the new backend is off its workers crash without end.
set_group_aside() {
    cp -aT --remove-destination "$originals/saved$group_file" "$group_file.before-migration" || die "could not write $group_file.before-migration"
    rm -f "$group_file"
    printf 'the worker group from before the migration is in %s.before-migration: without the new backend its workers cannot run\n' "$group_file"
}

restore_supervisor() {
    restore_original "$rpc_file"
    [ -f "$originals/units" ] || return 0
    line=$(grep "^$supervisor_unit.service " "$originals/units") || return 0
    case $line in
        *' active '*) # without a file of ours it never had to read anything anew
            ! is_kept "$rpc_file" || systemctl restart "$supervisor_unit" || die "could not restart $supervisor_unit"
            ;;
        *)
            others=$(programs_of_others)
            if [ -n "$others" ]; then # which somebody has put there since
                printf '%s goes on, since it also runs %s: its RPC ends when it is restarted\n' "$supervisor_unit" "$others"
                return 0
            fi
            systemctl stop "$supervisor_unit"
            ;;
    esac
    case $line in
        *' enabled') ;;
        *) systemctl disable "$supervisor_unit" >/dev/null 2>&1 ;;
    esac
}

programs_of_others() {
    ctl status 2>/dev/null | awk '$1 !~ /^misp-workers:/ && $2 ~ /RUNNING|STARTING|BACKOFF/ { printf "%s%s", comma, $1; comma = ", " }'
}

restore_libraries() { # unless they were changed since, as by an update of MISP
    is_as_we_left_it "$app/composer.lock" || return 0
    for name in Vendor composer.json composer.lock; do restore_original "$app/$name"; done
}

restore_selinux() {
    [ -f "$originals/selinux" ] || return 0
    read -r module rule network <"$originals/selinux"
    [ "$module" = loaded ] || semodule -r misp-workers-httpd 2>/dev/null
    if [ "$rule" != httpd_sys_script_exec_t ]; then
        semanage fcontext -d "$real_root/app/Console/cake" 2>/dev/null
        restorecon "$real_root/app/Console/cake"
    fi
    [ "$network" = on ] || setsebool -P httpd_can_network_connect off
}

forget() { # the host as if nothing had been done; first the name, so that it is all or nothing
    drop_unfinished "$supervisor_include_dir"
    sync # what was put back, before its copies go
    rm -rf "$state_dir.gone"
    [ ! -d "$state_dir" ] || mv "$state_dir" "$state_dir.gone"
    rm -rf "$state_dir.gone"
}
