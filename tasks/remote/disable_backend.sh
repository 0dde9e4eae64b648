# MISP's new backend off and the web tier without it, so that new jobs go to the old workers.
# shellcheck shell=sh disable=SC2154

restore_settings
reload_web
