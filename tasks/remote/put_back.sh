# Everything else as it was, and then nothing that speaks of a migration.
# shellcheck shell=sh disable=SC2154

restore_supervisor
restore_libraries
restore_selinux
forget
