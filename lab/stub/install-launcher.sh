#!/bin/sh
# install-launcher.sh VARIANT ROOT WEB_USER: one of the ways in which hosts start the old workers. Enabled, not started.
set -eu

[ $# -eq 3 ] || { echo "usage: install-launcher.sh VARIANT ROOT WEB_USER" >&2; exit 2; }
variant=$1 root=$2 web_user=$3
here=$(cd "$(dirname "$0")" && pwd)

render() {
    sed "s|@ROOT@|$root|g; s|@WEB_USER@|$web_user|g; s|@GROUP@|$(id -gn "$web_user")|g" "$here/launchers/$1"
}

unit() {
    render "$1" > "/etc/systemd/system/$2"
    systemctl enable "$2"
}

case "$variant" in
unit-always) unit unit-always.service misp-workers.service ;;
unit-execstop) unit unit-execstop.service misp-workers.service ;;
unit-other-name) unit unit-other-name.service workers.service ;;
rc-local)
    # systemd's generator starts rc-local.service when this file is executable.
    render rc-local > /etc/rc.local
    chmod 0755 /etc/rc.local
    ;;
cron-reboot)
    mkdir -p /etc/cron.d
    render cron-reboot > /etc/cron.d/misp-workers
    ;;
bare) ;; # started by hand: su -s /bin/bash WEB_USER -c ROOT/app/Console/worker/start.sh
*)
    echo "install-launcher.sh: unknown variant $variant" >&2
    exit 2
    ;;
esac
