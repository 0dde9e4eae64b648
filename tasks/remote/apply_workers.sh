# The worker group's file, and a daemon that has loaded it and starts the workers. Whether they stay is
# for the proof to say.
# shellcheck shell=sh disable=SC2154

make_state_dir
keep_original "$group_file"
install -d -m 0750 -o root -g "$web_group" "$log_dir"
previous=$state_dir/workers-previous
[ ! -f "$group_file" ] || [ -f "$previous" ] || cp -p "$group_file" "$previous"
printf '%s' "$group_text" | write_file "$group_file" 0644 || die "could not write $group_file"

complaint=$(ctl reread 2>&1) || true
case $complaint in
    *ERROR*)
        if [ -f "$previous" ]; then mv -f "$previous" "$group_file"; else rm -f "$group_file"; fi
        die "supervisord refuses the worker group, so its file is as before: $complaint"
        ;;
esac
case $complaint in
    *'misp-workers: available'*) ctl update misp-workers >&2 ;; # supervisord has none of them yet
    *)
        case $complaint in *misp-workers*) stop_idle_workers ;; esac # `update` restarts the whole group
        ctl update misp-workers >&2
        # `update` leaves a program that ended FATAL or STOPPED, and was not changed, as it is.
        ctl start 'misp-workers:*' >/dev/null 2>&1
        ;;
esac
sha256sum <"$group_file" | cut -d' ' -f1 | write_file "$state_dir/workers-applied" 0600
rm -f "$previous"
end_stray_workers
