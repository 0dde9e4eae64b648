#!/bin/sh
# Runs once, while the image is built.
set -eu

# Units that make no sense in a container; asking for passwords costs two of the 128 inotify instances
# that a kernel gives root, for all containers together.
systemctl mask --quiet \
  console-getty.service dev-hugepages.mount dnf-makecache.timer getty.target \
  systemd-ask-password-console.path systemd-ask-password-wall.path systemd-logind.service \
  systemd-remount-fs.service systemd-udev-trigger.service \
  systemd-udevd.service sys-fs-fuse-connections.mount sys-kernel-config.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount
systemctl set-default --quiet multi-user.target
systemctl enable --quiet crond httpd php-fpm redis sshd

# The operator's account. Its key, and the host's, are put in when a lab starts.
useradd --create-home --shell /bin/bash deploy
install -d -m 0755 /etc/ssl/misp
install -d -o deploy -g deploy -m 0700 /home/deploy/.ssh
chmod 0440 /etc/sudoers.d/deploy
rm -f /etc/ssh/ssh_host_*
