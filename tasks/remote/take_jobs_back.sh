# What a step that was cut off has left: jobs set aside, workers frozen.
# shellcheck shell=sh

take_jobs_back || die "no worker takes what is set aside: run again when Redis is well"
for pid in $(live_workers | awk '$2 > 0 { print $2 }'); do kill -CONT "$pid"; done
