#!/usr/bin/env bash
if [ "$EUID" -eq 0 ]; then
    echo "Please DO NOT run the worker script as root"
    exit 1
fi
cd "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1

../cake CakeResque.CakeResque stop --all

exit 0
