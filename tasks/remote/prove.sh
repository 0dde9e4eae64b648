# One real job through every queue, then MISP's own view of its workers.
# shellcheck shell=sh disable=SC2154

rm -f "$state_dir/proven"
if ! jobs=$(printf '{"root":"%s","workers":%s,"timeout":%s,"longest_wait":%s}' "$misp_root" "$workers_json" "$job_timeout" "$drain_timeout" |
    php_as_web_user "$php_canary" 2>&1); then
    tail -n 5 "$log_dir"/*.log >&2
    die "a test job did not come through, the ends of the workers' logs are above: $(one_line "$jobs")"
fi
printf '%s\n' "$jobs"
