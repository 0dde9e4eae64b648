# Everything else as it was, and then nothing that speaks of a migration.
# shellcheck shell=sh disable=SC2154

if is_as_we_left_it "$config_php"; then # a run was cut off amid the settings, `enabled` was not there yet
    restore_settings
    reload_web
fi
restore_libraries
restore_supervisor
restore_selinux
forget
