#!/bin/sh
# Builds the RPMs and the two repositories: "base" is enabled from the start, "epel" is what
# installing epel-release adds.
set -eu
cd "$(dirname "$0")"
top=/tmp/lab/rpmbuild
mkdir -p "$top/SOURCES"

# supervisor's program is Debian's own package; its layout is EPEL's.
(cd /tmp/lab && apt-get download supervisor)
dpkg-deb -x /tmp/lab/supervisor_*.deb "$top/SOURCES/debian"
cp -r supervisor "$top/SOURCES/epel"
cp -r epel-release "$top/SOURCES/epel-release"

for spec in *.spec; do
  rpmbuild -bb --quiet --define "_topdir $top" --define '_build_id_links none' "$spec"
done

install -d /srv/repos/base /srv/repos/epel
mv "$top"/RPMS/*/supervisor-*.rpm /srv/repos/epel/
mv "$top"/RPMS/*/*.rpm /srv/repos/base/
createrepo_c --quiet /srv/repos/base
createrepo_c --quiet /srv/repos/epel
rpm --install /srv/repos/base/el-like-release-*.rpm
