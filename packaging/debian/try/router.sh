#!/bin/sh
# Install the package on a router, run it, kill what runs, and let its gateway close all ways round it.
. /try/functions.sh
check dpkg -i "$new"
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
