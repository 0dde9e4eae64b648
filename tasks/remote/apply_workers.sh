# The worker group's file, and a daemon that has loaded it and starts the workers. Whether they stay is
# for the proof to say.
# shellcheck shell=sh disable=SC2154

make_state_dir
keep_original "$group_file"
install -d -m 0750 -o root -g "$web_group" "$log_dir"
previous=$state_dir/workers-previous
[ ! -f "$group_file" ] || [ -f "$previous" ] || cp -p "$group_file" "$previous"
printf '%s' "$group_text" | write_file "$group_file" 0644 || die "could not write $group_file"

refuse_faulty() { # what supervisorctl said
    case $1 in *ERROR* | *error:*) ;; *) return 0 ;; esac
    if [ -f "$previous" ]; then mv -f "$previous" "$group_file"; else rm -f "$group_file"; fi
    die "supervisord refuses the worker group, so its file is as before: $1"
}

stops=no

# `update` reads the files as `reread` does, and does nothing where they are faulty. It restarts the
# whole group when any program of it changed, so that has to be known before.
if [ "$has_group" = yes ]; then
    complaint=$(ctl reread 2>&1)
    refuse_faulty "$complaint"
    case $complaint in
        *'misp-workers: available'*) ;;
        *misp-workers*) stops=yes ;;
    esac
fi
[ "$stops" = no ] || stop_idle_workers
complaint=$(ctl update misp-workers 2>&1)
refuse_faulty "$complaint"
printf '%s\n' "$complaint" >&2
# `update` leaves a program that ended FATAL or STOPPED, and was not changed, as it is.
[ "$has_group" = no ] || ctl start 'misp-workers:*' >/dev/null 2>&1
sha256sum <"$group_file" | cut -d' ' -f1 | write_file "$state_dir/workers-applied" 0600
rm -f "$previous"
end_stray_workers
