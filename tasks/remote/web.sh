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
        systemctl reload "$unit" || die "could not reload $unit"
    done
    tries=0
    while [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && [ -n "$(old_children)" ]; do
        tries=$((tries + 1))
        # A process that serves a long request leaves after it.
        [ "$tries" -lt 1500 ] || die "after five minutes these still have PHP processes with the old settings: $(old_children | tr '\n' ' ')"
        sleep 0.2
    done
    cat "$state_dir/settings-changed" | write_file "$state_dir/web-reloaded" 0600
}

web_processes() { probe_web | awk -F '\t' '$1 == "web" { print $2 }'; }

old_children() { # units with PHP processes of the web user from before the change
    web_processes | awk -v user="$web_user" -v ticks="$ticks" '$1 == user && $2 <= ticks { print $3 }' | sort -u
}
