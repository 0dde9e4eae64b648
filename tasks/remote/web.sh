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
    for unit in $(web_processes | awk '{ print $3 }' | sort -u); do
        reload_unit "$unit" || die "could not reload $unit"
    done
    reload_masters
    first_line /proc/sys/kernel/random/boot_id
    this_boot=$line
    limit=$(($(date +%s) + 300))
    while [ "$boot" = "$this_boot" ] && [ -n "$(old_children)" ]; do
        # A process that serves a long request leaves after it.
        [ "$(date +%s)" -lt "$limit" ] || die "after five minutes these still have PHP processes with the old settings: $(old_children | tr '\n' ' ')"
        sleep 0.05
    done
    cat "$state_dir/settings-changed" | write_file "$state_dir/web-reloaded" 0600
}

reload_unit() { # UNIT: one that somebody wrote by hand may know no reload
    case $(systemctl show -p CanReload --value "$1") in
        no) systemctl restart "$1" ;;
        *) systemctl reload "$1" ;;
    esac
}

# Those that no unit has started, by the signal that a unit's reload sends.
reload_masters() {
    for directory in $(web_directories); do
        pid=${directory#/proc/}
        if is_in_a_container "$pid" || ! see_process "$pid" || [ -n "$(unit_of "$pid")" ]; then continue; fi
        first_line "$directory/comm"
        name=$line
        first_line "/proc/$parent/comm"
        [ "$line" != "$name" ] || continue # a child
        case $name in
            php-fpm*) kill -USR2 "$pid" ;;
            *) kill -USR1 "$pid" ;;
        esac
    done
}

web_processes() { probe_web | awk -F '\t' '$1 == "web" { print $2 }'; }

old_children() { # units with PHP processes of the web user from before the change
    web_processes | awk -v user="$web_user" -v ticks="$ticks" '
        $1 == user && $2 <= ticks { print NF > 2 ? $3 : "(no unit)" }' | sort -u
}
