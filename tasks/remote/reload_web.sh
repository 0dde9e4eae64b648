# Reload the PHP processes that are older than MISP's settings: their opcache may serve the old
# config.php for ever (opcache.validate_timestamps=0), and a command line cannot clear it.
# shellcheck shell=sh disable=SC2154

read -r boot ticks <"$state_dir/settings-changed" || exit 0
if [ "$ticks" = unfinished ]; then # a run was cut off between the settings and their date
    ticks=$(now_ticks)
    printf '%s %s\n' "$boot" "$ticks" | write_file "$state_dir/settings-changed" 0600
fi

old_web_units() { # units with a web user's PHP process from before the change
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
    probe_web | awk -F '\t' '$1 == "web" { print $2 }' | while read -r owner started unit; do
        [ "$owner" = "$web_user" ] && [ "$started" -le "$ticks" ] && printf '%s\n' "$unit"
    done | sort -u
}

for unit in $(old_web_units); do
    systemctl reload "$unit" || die "could not reload $unit"
done
tries=0
while [ -n "$(old_web_units)" ]; do
    tries=$((tries + 1))
    # A process that serves a long request leaves after it.
    [ "$tries" -lt 60 ] || die "after a minute these still have PHP processes with the old settings: $(old_web_units | tr '\n' ' ')"
    sleep 1
done
