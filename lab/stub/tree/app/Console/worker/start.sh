#!/usr/bin/env bash
# One legacy worker per queue and one scheduler, in MISP's order.
if [ "$EUID" -eq 0 ]; then
    echo "Please DO NOT run the worker script as root"
    exit 1
fi
cd "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1

../cake CakeResque.CakeResque stop --all
for queue in default prio cache email update; do
    ../cake CakeResque.CakeResque start --interval 5 --queue "$queue"
done
../cake CakeResque.CakeResque startscheduler --interval 5

exit 0
