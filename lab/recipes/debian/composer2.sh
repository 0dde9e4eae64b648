#!/bin/sh
# MISP ships Composer 2. The stub hands over to the distribution's, which is Composer 1 in Ubuntu 20.04:
# there Composer comes from 22.04. Composer 2.2 itself runs on this PHP; 22.04's patch for a newer psr/log,
# some types of arguments, does not and is taken out.
set -eu
sources=/etc/apt/sources.list.d/jammy.list
preferences=/etc/apt/preferences.d/jammy

sed -n 's/ focal main universe$/ jammy universe/p; s/ focal universe$/ jammy universe/p' \
  /etc/apt/sources.list >"$sources"
printf 'Package: *\nPin: release n=jammy\nPin-Priority: -1\n\n' >"$preferences"
printf 'Package: composer php-composer-* php-json-schema php-react-promise\n' >>"$preferences"
printf 'Pin: release n=jammy\nPin-Priority: 900\n' >>"$preferences"

apt-get update -qq -o Dir::Etc::sourcelist="$sources" -o Dir::Etc::sourceparts=/dev/null \
  -o APT::Get::List-Cleanup=0
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends composer
apt-get clean
sed -i 's/Stringable|string //' /usr/share/php/Composer/IO/*.php
rm -f "$sources" "$preferences" /var/lib/apt/lists/*_jammy_*
composer --version --no-ansi | grep -E '^Composer (version )?2\.'
