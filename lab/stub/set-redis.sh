#!/bin/sh
# [STUB_REDIS_PASSWORD=...] set-redis.sh ROOT HOST PORT: point MISP's three Redis configurations at one server.
set -eu
[ $# -eq 3 ] || { echo "usage: set-redis.sh ROOT HOST PORT" >&2; exit 2; }
php "$(dirname "$0")/setup.php" redis "$1" "$2" "$3"
