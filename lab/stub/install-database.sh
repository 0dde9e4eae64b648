#!/bin/sh
# install-database.sh SQL: a real MariaDB where MISP's database.php says, for tests that need MISP's tables. Its packages
# are fetched by apt unless they are there. Without its own tables of accounts it starts in a second; it listens on its
# socket file alone.
set -eu

[ $# -eq 1 ] || { echo "usage: install-database.sh SQL" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -x /usr/sbin/mariadbd ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server-core php-mysql > /dev/null
fi
systemd-run --quiet --unit=lab-mariadb -p User=nobody -p RuntimeDirectory=mysqld -p StateDirectory=lab-mariadb \
    /usr/sbin/mariadbd --no-defaults --skip-grant-tables --skip-networking --datadir=/var/lib/lab-mariadb \
    --socket=/run/mysqld/mysqld.sock
# shellcheck disable=SC2016 # these are PHP's variables
php -r '
for ($end = time() + 60; ; usleep(100000)) {
    try {
        $database = new PDO("mysql:unix_socket=/run/mysqld/mysqld.sock", "misp", "stub");
        break;
    } catch (PDOException $error) {
        if (time() > $end) { throw $error; }
    }
}
$database->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$database->exec(file_get_contents($argv[1]));
' -- "$here/$1"
