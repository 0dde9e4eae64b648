# Nothing of dead old workers left in Redis.
# shellcheck shell=sh

forget_old_workers
