# Every worker up, and for some seconds already.
# shellcheck shell=sh disable=SC2154

wait_until_stable "$stable_seconds"
