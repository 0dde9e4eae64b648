#!/bin/sh
# Runs once, while the image is built.
set -eu

# Units that make no sense in a container (asking for passwords costs two of the 128 inotify instances
# that a kernel gives root, for all containers together), and timers that would hold apt's lock.
systemctl mask --quiet \
  apt-daily.timer apt-daily-upgrade.timer console-getty.service dev-hugepages.mount \
  dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty.target \
  systemd-ask-password-console.path systemd-ask-password-wall.path systemd-logind.service \
  systemd-networkd-wait-online.service systemd-remount-fs.service \
  systemd-resolved.service systemd-timesyncd.service systemd-udev-trigger.service \
  systemd-udevd.service sys-fs-fuse-connections.mount sys-kernel-config.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount
systemctl set-default --quiet multi-user.target
systemctl enable --quiet ssh.service

# The operator's account. Its key, and the host's, are put in when a lab starts.
useradd --create-home --shell /bin/bash deploy
install -d -m 0755 /etc/ssl/misp
install -d -o deploy -g deploy -m 0700 /home/deploy/.ssh
if [ -e /etc/legal ]; then
  # An account's first login shows it on Ubuntu, which is noted in the home. This one has logged in before.
  install -d -o deploy -g deploy -m 0700 /home/deploy/.cache
  install -o deploy -g deploy -m 0644 /dev/null /home/deploy/.cache/motd.legal-displayed
fi
chmod 0440 /etc/sudoers.d/deploy
rm -f /etc/ssh/ssh_host_*

case $(composer --version --no-ansi 2>/dev/null) in
  "Composer 1"* | "Composer version 1"*) sh "$(dirname "$0")/composer2.sh" ;;
esac

php=$(php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
# As on a tuned production server: PHP-FPM never looks at a file again until it is reloaded.
printf 'opcache.enable=1\nopcache.validate_timestamps=0\n' >"/etc/php/$php/fpm/conf.d/99-misp.ini"

a2enmod -q ssl proxy_fcgi setenvif rewrite headers
a2dissite -q 000-default
sed -i 's/^Listen 80$//' /etc/apache2/ports.conf
