# Jobs that a conversion had taken out of their lists when it was cut off.
# shellcheck shell=sh

convert_held_jobs
