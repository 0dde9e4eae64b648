# What the new workers did not get to goes to the old ones.
# shellcheck shell=sh disable=SC2154

remove_workers
move_jobs_back
