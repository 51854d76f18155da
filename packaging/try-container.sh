#!/bin/sh
# Builds the image with Podman, starts it as documented in docs/install/container.md, queries it from another machine, restarts it with its
# state and removes it. Needs root, podman, podman-compose, kdig, curl and internet access. A network namespace stands in for the host.
set -eu
cd "$(dirname "$0")"
host=hedgerow-try-host device=hedgerow-try-device
export COMPOSE_PROJECT_NAME=hedgerow-try
container=${COMPOSE_PROJECT_NAME}_hedgerow_1
on_host() { nsenter --net=/run/netns/$host "$@"; }
on_device() { nsenter --net=/run/netns/$device "$@"; }
end() {
    on_host podman-compose down --volumes >/dev/null 2>&1 || true
    ip netns delete $host
    ip netns delete $device
}
check() { if "$@" >/dev/null 2>&1; then echo "good: $*"; else echo "BAD: $*"; on_host podman logs $container; exit 1; fi; }
wait_for() { for _ in $(seq 300); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.3; done; return 1; }
inside() { on_host podman exec $container "$@"; }
blocks() { on_device kdig @192.168.9.1 +short +timeout=1 +retry=0 www.tiktok.com | grep -qx 0.0.0.0; }
refuses() { on_device curl -s -x http://192.168.9.1:3128 http://www.tiktok.com/ | grep -qi helpline; }
shows() { on_device curl -sf -o /dev/null http://192.168.9.1:8053/check; }
well() { on_host podman healthcheck run $container; }
authority() { inside sha256sum /var/lib/hedgerow/ca/hedgerow-ca.pem; }

podman build -f Containerfile --build-arg "COMMIT=$(git rev-parse HEAD)" -t hedgerow ${BUILD_OPTIONS:-} ..
ip netns add $host
ip netns add $device
trap end EXIT INT TERM
ip -n $host link add lan type veth peer name eth0 netns $device
ip -n $host address add 192.168.9.1/24 dev lan
ip -n $device address add 192.168.9.2/24 dev eth0
for place in $host $device; do ip -n $place link set lo up; done
ip -n $host link set lan up
ip -n $device link set eth0 up

on_host podman-compose up -d >/dev/null 2>&1
check wait_for blocks
check wait_for refuses
check shows
check wait_for well
check test "$(inside sh -c 'grep CapBnd /proc/1/status' | cut -f2)" = 0000000000000400 # port 53 and no other capability
check test "$(inside id -un)" = hedgerow
check inside sh -c '! touch /opt/hedgerow/x'
before=$(authority)
inside sh -c 'echo "# mine" >>/etc/hedgerow/hedgerow.yaml'
on_host podman-compose down >/dev/null 2>&1
on_host podman-compose up -d >/dev/null 2>&1
check wait_for blocks
check test "$(authority)" = "$before"
check inside grep -q '# mine' /etc/hedgerow/hedgerow.yaml
on_host podman-compose stop >/dev/null 2>&1
check test "$(on_host podman inspect --format '{{.State.ExitCode}}' $container)" = 0
