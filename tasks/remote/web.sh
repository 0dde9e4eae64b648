# Let every PHP process of the web tier go that may know MISP's old settings. The opcache belongs to
# the master, not to the children that serve, so each unit is reloaded once for each change: with
# opcache.validate_timestamps=0 it serves the old config.php for ever, and no command line clears it.
# shellcheck shell=sh disable=SC2154

reload_web() {
    [ -f "$state_dir/settings-changed" ] || return 0
    read -r boot ticks <"$state_dir/settings-changed"
    if [ "$ticks" = unfinished ]; then # a run was cut off between the settings and their date
        ticks=$(now_ticks)
        changed "$ticks"
    fi
    reloaded=' '
    for unit in $(web_processes | awk '{ print $3 }' | sort -u); do
        can_reload "$unit" || continue
        systemctl reload "$unit" || die "could not reload $unit"
        reloaded="$reloaded$unit "
    done
    reload_masters
    first_line /proc/sys/kernel/random/boot_id
    this_boot=$line
    limit=$(($(date +%s) + 300))
    while [ "$boot" = "$this_boot" ] && [ -n "$(old_children)" ]; do
        # A process that serves a long request leaves after it.
        [ "$(date +%s)" -lt "$limit" ] || die "after five minutes these still have PHP processes with the old settings: $(old_children | tr '\n' ' ')"
        nap
    done
    cat "$state_dir/settings-changed" | write_file "$state_dir/web-reloaded" 0600
}

# Not one that somebody wrote by hand without ExecReload, and not supervisord's, whose reload restarts all.
can_reload() { # UNIT
    [ "$1" != "$supervisor_unit.service" ] && [ "$(systemctl show -p CanReload --value "$1")" != no ]
}

# Those of no unit, or of one that cannot be reloaded, by the signal that a unit's reload sends. Never by a
# restart: whatever else runs in such a unit would go with it, as old workers that MISP's page started.
reload_masters() {
    for directory in $(web_directories); do
        pid=${directory#/proc/}
        unit=$(unit_of "$pid")
        case $reloaded in *" ${unit:-none} "*) continue ;; esac
        if is_in_a_container "$pid" || ! see_process "$pid"; then continue; fi
        first_line "$directory/comm" || continue
        name=$line
        first_line "/proc/$parent/comm" || continue
        [ "$line" != "$name" ] || continue # a child
        case $name in
            php-fpm | php-fpm[0-9]*) kill -USR2 "$pid" ;;
            apache2 | httpd) kill -USR1 "$pid" ;;
        esac
    done
}

web_processes() { probe_web | awk -F '\t' '$1 == "web" { print $2 }'; }

old_children() { # units with PHP processes of the web user from before the change
    web_processes | awk -v user="$web_user" -v ticks="$ticks" '
        $1 == user && $2 <= ticks { print (NF > 2 ? $3 : "(no unit)") }' | sort -u
}
