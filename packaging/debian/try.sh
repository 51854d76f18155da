#!/bin/sh
# Boots a fresh Debian under systemd-nspawn as a router without a network, and installs, runs, upgrades, removes and purges the package
# there, with a reboot in between. Needs root, debootstrap, systemd-container and Debian's archive. Takes some minutes.
# Usage: try.sh PACKAGE.deb [RELEASE]
set -eu
package=$(readlink -f "$1")
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT INT TERM
# The package's dependencies, since there is no network inside, and the test's clients.
debootstrap --variant=minbase --include=systemd-sysv,nftables,adduser,ca-certificates,python3,iproute2,procps,knot-dnsutils,curl "${2:-trixie}" "$root" >/dev/null

# The same package as a later version.
mkdir "$root/later" "$root/try"
dpkg-deb -R "$package" "$root/later"
sed -i 's/^Version: .*/&+later/' "$root/later/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$root/later" "$root/try/later.deb" >/dev/null
rm -rf "$root/later"
cp "$package" "$root/try/first.deb"

network=$root/etc/systemd/network
for port in lan wan; do
    printf '[NetDev]\nName=%s\nKind=veth\n[Peer]\nName=%s-peer\n' $port $port >"$network/$port.netdev"
    printf '[Match]\nName=%s-peer\n[Network]\nLinkLocalAddressing=ipv6\n' $port >"$network/$port-peer.network"
done
printf '[Match]\nName=lan\n[Network]\nAddress=192.168.9.1/24\n' >"$network/lan.network"
printf '[Match]\nName=wan\n[Network]\nDHCP=yes\n' >"$network/wan.network" # no DHCP server: the provider is down
chroot "$root" systemctl --quiet enable systemd-networkd 2>/dev/null

cat >"$root/try/functions.sh" <<'END'
check() { if "$@" >/tmp/output 2>&1; then echo "good: $*"; else echo "BAD: $*"; cat /tmp/output; journalctl -u 'hedgerow*' --no-pager -n 40; exit 1; fi; }
wait_for() { for _ in $(seq 300); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done; "$@"; }
blocks() { kdig @192.168.9.1 +short +timeout=1 +retry=0 www.tiktok.com | grep -qx 0.0.0.0; }
refuses() { curl -s -x http://192.168.9.1:3128 http://www.tiktok.com/ | grep -qi helpline; }
exposure() { systemd-analyze security --no-pager --threshold=15 "$1"; }
may() { for process in $(cat "/sys/fs/cgroup/system.slice/$1.service/cgroup.procs"); do # no more than these capabilities, and no others later
    test "$(sed -n 's/^CapPrm:\t//p' "/proc/$process/status")" = "$2" && grep -q '^NoNewPrivs:.1$' "/proc/$process/status" || return 1
done; }
shows() { curl -s "http://192.168.9.1:8053$1" | grep -q "$2"; }
process_of() { systemctl show --property=MainPID --value "$1"; }
pid() { process_of hedgerow; }
is_another() { test "$(pid)" != 0 && test "$(pid)" != "$1"; }
END

cat >"$root/try/first.sh" <<'END'
. /try/functions.sh
check dpkg -i /try/first.deb
check wait_for blocks
check wait_for refuses
check systemctl is-enabled hedgerow hedgerow-gateway
for unit in hedgerow hedgerow-gateway hedgerow-ports; do
    check exposure $unit
    systemd-analyze security --no-pager $unit | grep Overall
done
check may hedgerow 0000000000000000
check sh -c 'ss -lunm sport = :53 | grep -q rb8388608' # larger than any process may ask for
check wait_for shows /check Hedgerow
check curl -sf -o /dev/null http://192.168.9.1:8053/healthz
check sh -c 'curl -s http://192.168.9.1:8053/readyz | grep -qx "lists are missing"' # there is no internet
check sh -c 'kdig @192.168.9.1 +tcp +short www.tiktok.com | grep -qx 0.0.0.0'
check test "$(stat -c %U:%a /var/lib/hedgerow)" = hedgerow:700
check test "$(ps -o user= -p "$(pid)")" = hedgerow
check hedgerow check /etc/hedgerow/hedgerow.yaml
check hedgerow gateway apply --lan lan
check wait_for test -S /var/lib/hedgerow/run/gateway.sock
check may hedgerow-gateway 0000000000001000
check kill -KILL "$(process_of hedgerow-gateway)"
check nft flush table inet hedgerow
check wait_for hedgerow gateway status
check hedgerow pause
check wait_for sh -c 'hedgerow gateway status | grep -q "^closed: all others"'
check test -z "$(find /var/lib/hedgerow ! -user hedgerow)"
check systemctl reload hedgerow
was=$(pid)
check kill -KILL "$was"
check wait_for is_another "$was"
check wait_for blocks
check test -e /var/lib/hedgerow/gateway.json
END

cat >"$root/try/second.sh" <<'END'
. /try/functions.sh
check wait_for systemctl is-active hedgerow-gateway
check nft list table inet hedgerow
check wait_for blocks
check sh -c 'hedgerow gateway status | grep -q "^closed: all others"'
sha256sum /var/lib/hedgerow/ca/hedgerow-ca.pem >/try/before
echo '# mine' >>/etc/hedgerow/hedgerow.yaml

check setpriv --reuid=hedgerow --regid=hedgerow --clear-groups sh -c 'mkdir -p /var/lib/hedgerow/backups
    touch /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-0.0.1'
systemctl disable --quiet hedgerow-gateway
(
    until test -e /try/upgraded; do
        kdig @192.168.9.1 +short +timeout=60 +retry=0 www.tiktok.com | grep -qx 0.0.0.0 && echo answered || echo lost
    done >/try/answers
) &
check dpkg -i /try/later.deb
check wait_for blocks
touch /try/upgraded
wait
echo "answers during the upgrade: $(grep -c answered /try/answers)"
check sh -c '! grep lost /try/answers'
check sha256sum -c /try/before
check grep -q '# mine' /etc/hedgerow/hedgerow.yaml
check test -e /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-*
check test ! -e /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-0.0.1
check nft list table inet hedgerow
check sh -c '! systemctl is-enabled hedgerow-gateway'

check dpkg -i /try/first.deb # one step back
check wait_for blocks
check sha256sum -c /try/before
check test -e /var/lib/hedgerow/backups/journal.sqlite.of-*

check dpkg -r hedgerow
check test "$(pgrep -c -u hedgerow)" = 0
check test "$(nft list tables)" = ""
check test -e /var/lib/hedgerow/journal.sqlite
check dpkg -i /try/first.deb
check wait_for blocks
check grep -q '# mine' /etc/hedgerow/hedgerow.yaml
mount --bind /var/lib/hedgerow /var/lib/hedgerow # as if it were a disk of its own
check dpkg -P hedgerow
umount /var/lib/hedgerow
check rmdir /var/lib/hedgerow
check test -z "$(find / -xdev -name '*hedgerow*' ! -path '/try/*' ! -path '/var/log/journal/*' ! -path '/proc/*')"
check sh -c '! getent passwd hedgerow'
END

cat >"$root/etc/systemd/system/try.service" <<'END'
[Unit]
After=systemd-networkd.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
Environment=DEBIAN_FRONTEND=noninteractive
ExecStart=/bin/sh -eu /try/now.sh
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >/try/status'
StandardOutput=append:/try/out
StandardError=append:/try/out
[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl --quiet enable try.service 2>/dev/null
for boot in first second; do
    cp "$root/try/$boot.sh" "$root/try/now.sh"
    : >"$root/try/out"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$root" --boot --private-network --register=no --keep-unit \
        --console=pipe </dev/null >/dev/null 2>&1 || true
    cat "$root/try/out"
    test "$(cat "$root/try/status")" = 0
done
