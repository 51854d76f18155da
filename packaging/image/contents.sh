#!/bin/sh
# Fails if the tree of an image has a password, a key, an identity of a machine, or a program that listens without being asked: contents.sh TREE.
set -eu
root=$1
problems=0
problem() { echo "in the image: $*" >&2; problems=1; }
cut -d: -f2 "$root/etc/shadow" | grep -qv '^[*!]' && problem "a user with a password"
[ ! -s "$root/etc/machine-id" ] || problem "a machine's id"
for file in "$root"/etc/ssh/ssh_host_* "$root"/root/.ssh/* "$root"/home/* "$root"/var/lib/systemd/random-seed "$root"/var/lib/hedgerow/* "$root"/etc/hostapd/*.psk; do
    [ ! -e "$file" ] || problem "${file#"$root"}"
done
keys=$(find "$root/etc" "$root/var" "$root/root" "$root/usr/lib/hedgerow-box" -type f -exec grep -lI -e '-----BEGIN.*PRIVATE KEY-----' {} + || true)
[ -z "$keys" ] || problem "a private key: $keys"
for unit in hostapd dnsmasq; do
    [ -z "$(find "$root/etc/systemd/system" -path '*.wants/*' -name "$unit.service")" ] || problem "$unit starts by itself"
done
for unit in hedgerow-box-grow hedgerow systemd-networkd; do
    [ -n "$(find "$root/etc/systemd/system" -path '*.wants/*' -name "$unit.service")" ] || problem "$unit does not start"
done
[ -n "$(find "$root/boot" -name 'initrd.img-*')" ] || problem "no initrd"
exit $problems
