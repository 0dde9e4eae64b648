#!/bin/sh
# Gives Debian's parts the RHEL family's names; runs once, while the image is built.
set -eu
php=$(php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')

groupadd --system --gid 48 apache
useradd --system --uid 48 --gid apache --home-dir /usr/share/httpd --create-home \
  --shell /usr/sbin/nologin apache
chown root:root /usr/share/httpd
install -d /var/log/httpd /var/log/php-fpm

# Debian's units would answer to names that the RHEL family does not know.
systemctl disable --quiet apache2.service "php$php-fpm.service" redis-server.service cron.service ssh.service
rm -rf /etc/systemd/system/apache2.service.d
cd /lib/systemd/system
rm -f apache2.service apache2@.service apache-htcacheclean*.service "php$php-fpm.service"
rm -f /etc/init.d/apache2 /etc/init.d/apache-htcacheclean "/etc/init.d/php$php-fpm"
mv redis-server.service redis.service
mv /etc/systemd/system/redis-server.service.d /etc/systemd/system/redis.service.d
sed -i '/^Alias=/d' redis.service
mv cron.service crond.service
mv ssh.service sshd.service
sed -i '/^Alias=/d' sshd.service
rm -f /etc/init.d/redis-server /etc/init.d/cron /etc/init.d/ssh
ln -sf apache2 /usr/sbin/httpd
ln -sf bash /bin/sh
ln -sf "php-fpm$php" /usr/sbin/php-fpm
# MISP on the RHEL family is installed below the same root; only the account differs.
sed -i 's/^www-data/apache/' /etc/apache2/envvars
systemctl enable --quiet httpd.service php-fpm.service redis.service crond.service sshd.service

ln -sf ../usr/lib/os-release /etc/os-release
printf 'EL-like stand-in release 9.0\n' >/etc/redhat-release
ln -sf redhat-release /etc/system-release
rm -f /etc/debian_version /etc/apt/sources.list /etc/apt/sources.list.d/*
# A deploy that takes this host for a Debian must fail as it would on the RHEL family.
rm -f /usr/bin/apt /usr/bin/apt-get /usr/bin/apt-cache /usr/bin/apt-mark
