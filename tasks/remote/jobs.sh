# Jobs that wait, from one backend's lists to the other's; see jobs.php.
# shellcheck shell=sh disable=SC2154

jobs_input() { printf '{%s}\n' "$(misp_input)"; }

# What the old backend still has to do; with $1 = tasks MISP's scheduled tasks count as well. No
# answer is no reason to call it done.
old_work_left() {
    left=$(misp legacy 2>/dev/null)
    kinds='running|held|delayed'
    [ "${1:-}" != tasks ] || kinds="$kinds|scheduled"
    case $left in
        *'"installed":false'*) return 1 ;;
        *'"installed":true'*) printf '%s' "$left" | grep -qE '"('"$kinds"')":[1-9]|"waiting":\{[^}]*:[1-9]' ;;
        *) return 0 ;;
    esac
}

# The copy of the old lists stays on the host: nobody else has these jobs once they are taken out.
convert_old_jobs() {
    make_state_dir
    copy=$state_dir/old-jobs-$(date -u +%Y-%m-%dT%H%M%SZ).json
    if ! jobs=$(jobs_input | php_as_web_user "$php_list_old_jobs") || ! printf '%s\n' "$jobs" | write_file "$copy" 0600; then
        die "the jobs of the old backend could not be copied to $copy, so none was converted, see above"
    fi
    { jobs_input && cat "$copy"; } | php_as_web_user "$php_convert_jobs" ||
        die "the jobs of the old backend were not all converted; they are copied in $copy. Run again to go on"
}

convert_held_jobs() {
    { jobs_input && printf '{"lists":{}}'; } | php_as_web_user "$php_convert_jobs" ||
        die "a conversion of jobs that was cut off could not be finished, see above"
}

move_jobs_back() { # from the new lists to the old ones
    jobs_input | php_as_web_user "$php_move_jobs" ||
        die "jobs of the new backend could not be moved to the old one, see above. Run again when both Redis servers answer"
}

forget_old_workers() { # what dead ones left in Redis
    jobs_input | php_as_web_user "$php_forget_old_workers" ||
        die "what the old workers left in Redis could not be removed, see above"
}
