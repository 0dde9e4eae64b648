# What a run that was cut off had set aside, while it waited for a worker to become idle.
# shellcheck shell=sh

freeze_idle_workers >/dev/null # none of them; it begins and ends with nothing aside
