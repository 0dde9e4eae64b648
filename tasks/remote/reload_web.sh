# The web tier without what it knew of MISP's settings before.
# shellcheck shell=sh disable=SC2154

reload_web
