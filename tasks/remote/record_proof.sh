# Remember what was proven, once its workers have stayed, so that the next run need not prove it again.
# shellcheck shell=sh disable=SC2154

take_answers "$(misp evidence php_version extension)"
proven=$(evidence)
wait_until_stable "$stable_seconds"
make_state_dir
printf '%s\n' "$proven" | write_file "$state_dir/proven" 0600
