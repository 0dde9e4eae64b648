# What waits on the old backend becomes work of the new one.
# shellcheck shell=sh

convert_old_jobs
