#!/bin/sh
# Makes the image's system of a tree with Debian and our package: customise.sh TREE FILES. Called by build.sh.
set -eu
root=$1
cp -a --no-preserve=ownership "$2/." "$root"
chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved systemd-timesyncd hedgerow-box-grow hedgerow-box-preset \
    hedgerow-wifi ssh \
    hedgerow-box-screen@tty1 hedgerow-box-screen@ttyS0
# Our own screens take their place, and nobody has a password.
chroot "$root" systemctl --quiet mask getty@tty1.service serial-getty@ttyS0.service getty.target \
    apt-daily.timer apt-daily-upgrade.timer man-db.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
chroot "$root" systemctl --quiet disable hostapd dnsmasq 2>/dev/null || true
chroot "$root" passwd --quiet --lock root
ln -sfn /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
echo hedgerow >"$root/etc/hostname"
printf '127.0.0.1 localhost hedgerow\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
mkdir -p "$root/state"
chroot "$root" update-initramfs -c -k all >/dev/null
# What would be the same on every machine, and what tells when the image was built.
rm -rf "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root"/etc/*- "$root"/var/cache/* \
    "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/tmp/* "$root"/run/* "$root"/var/backups/* "$root/var/lib/hedgerow"/* "$root/etc/.pwd.lock"
: >"$root/etc/machine-id"
mkdir -p "$root/var/log/journal" "$root/var/log/hedgerow"
chroot "$root" chown hedgerow:hedgerow /var/log/hedgerow
chmod 750 "$root/var/log/hedgerow"
