#!/bin/sh
# Installs, runs, upgrades, removes and purges the package in a fresh Debian root, in a network namespace of its own. Needs root,
# debootstrap and the network; takes some minutes. Usage: try.sh PACKAGE.deb [RELEASE]
set -eu
package=$(readlink -f "$1")
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT INT TERM
debootstrap --variant=minbase --include=nftables,adduser,iproute2,init-system-helpers,ca-certificates,systemd,python3 "${2:-trixie}" "$root" >/dev/null

# The same package as a later version.
mkdir "$root/tmp/later" "$root/tmp/d"
dpkg-deb -R "$package" "$root/tmp/later"
sed -i 's/^Version: .*/&+later/' "$root/tmp/later/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$root/tmp/later" "$root/tmp/d/later.deb" >/dev/null
rm -rf "$root/tmp/later"
cp "$package" "$root/tmp/d/first.deb"

cat >"$root/tmp/inside.sh" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up
ip link add lan0 type veth peer name lan1
ip address add 192.168.9.1/24 dev lan0
ip link set lan0 up
ip link set lan1 up
check() { if "$@" >/tmp/said 2>&1; then echo "good: $*"; else echo "BAD: $*"; cat /tmp/said; tail -n 40 /tmp/err 2>/dev/null; exit 1; fi; }
serves() { grep -q '^hedgerow ready' /tmp/out; }
wait_for() { for _ in $(seq 300); do if "$@"; then return 0; fi; sleep 0.2; done; return 1; }
rights=+net_admin,+net_bind_service

check dpkg -i /tmp/d/first.deb
check test "$(stat -c %U:%a /var/lib/hedgerow)" = hedgerow:700
check hedgerow check /etc/hedgerow/hedgerow.yaml
# As the unit starts it: its user, its two rights and no others.
cd /var/lib/hedgerow
setpriv --reuid=hedgerow --regid=hedgerow --init-groups --no-new-privs --bounding-set=-all,$rights --inh-caps=$rights --ambient-caps=$rights \
    /opt/hedgerow/bin/hedgerow up --policy /etc/hedgerow/hedgerow.yaml --state /var/lib/hedgerow --dns 0.0.0.0:53 \
    --transparent 0.0.0.0:3129 >/tmp/out 2>/tmp/err &
process=$!
cd /
check wait_for serves
check hedgerow gateway apply --lan lan0
check hedgerow pause
check hedgerow gateway status
check sh -c 'hedgerow gateway status | grep -q "^closed: all others"'
check test -z "$(find /var/lib/hedgerow ! -user hedgerow)"
kill "$process"
wait "$process" || true
check nft list table inet hedgerow
sha256sum /var/lib/hedgerow/ca/hedgerow-ca.pem >/tmp/before
echo '# mine' >>/etc/hedgerow/hedgerow.yaml

check dpkg -i /tmp/d/later.deb
check sha256sum -c /tmp/before
check grep -q '# mine' /etc/hedgerow/hedgerow.yaml
check test -e /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-*
check nft list table inet hedgerow

check dpkg -r hedgerow
check test "$(nft list tables)" = ""
check test -e /var/lib/hedgerow/journal.sqlite
check dpkg -P hedgerow
for gone in /opt/hedgerow /etc/hedgerow /var/lib/hedgerow /usr/share/hedgerow /usr/bin/hedgerow; do check test ! -e "$gone"; done
check sh -c '! getent passwd hedgerow'
END
unshare --mount --pid --fork --net --mount-proc="$root/proc" chroot "$root" sh /tmp/inside.sh
