#!/bin/sh
# Installs the Debian packages that tests use: servers and clients that Hedgerow is tried with. Needs root. Does nothing when all are there.
# With the argument `list` it prints their names, with `missing` those of packages that are not installed.
set -eu

packages="knot knot-dnsutils dnsperf nginx-light curl iproute2 chromium chromium-headless-shell nftables unbound openssl prometheus libnss3-tools
wireguard-go wireguard-tools dnsmasq-base busybox libfaketime microsocks tinyproxy-bin iodine openvpn openssh-client openssh-server
iputils-ping avahi-daemon dnsdist haproxy postgresql pgbouncer keepalived mosquitto stubby lintian apt-utils gpg gpg-agent gcc python3-dev"
if [ "${1:-}" = list ]; then
    printf '%s\n' $packages
    exit 0
fi

missing=
for package in $packages; do
[ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing="$missing $package"
done
if [ "${1:-}" = missing ]; then
    printf '%s\n' $missing
    exit 0
fi
[ -n "$missing" ] || exit 0
echo "Installing$missing"
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then  # the tests start servers of their own
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
apt-get update -qq >/dev/null
# shellcheck disable=SC2086 (a list of words)
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
