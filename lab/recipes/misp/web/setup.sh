#!/bin/sh
# setup.sh ROOT: serves ROOT/app/webroot over TLS through PHP-FPM, with the names of this host.
set -eu
root=$1
here=$(dirname "$0")

if [ -e /etc/php-fpm.d/www.conf ]; then
  socket=/run/php-fpm/www.sock
else
  socket=$(sed -n 's/^listen = //p' /etc/php/*/fpm/pool.d/www.conf)
fi
if [ -d /etc/apache2/sites-enabled ]; then
  target=/etc/apache2/sites-enabled/misp.conf
else
  target=/etc/httpd/conf.d/misp.conf
fi
sed -e "s|@ROOT@|$root|g" -e "s|@SOCKET@|$socket|g" "$here/misp.conf" >"$target"
