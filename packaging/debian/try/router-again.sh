#!/bin/sh
# After a reboot: upgrade to a later build without a lost answer, go one step back, remove, reinstall and purge.
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
check dpkg -i "$later"
check wait_for blocks
touch /try/upgraded
wait
note "$(grep -c answered /try/answers) queries were answered during the upgrade, and none was lost"
check sh -c '! grep lost /try/answers'
check sha256sum -c /try/before
check grep -q '# mine' /etc/hedgerow/hedgerow.yaml
check test -e /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-*
check test ! -e /var/lib/hedgerow/backups/journal.sqlite.before-upgrade-from-0.0.1
check nft list table inet hedgerow
check sh -c '! systemctl is-enabled hedgerow-gateway'

check dpkg -i "$new" # one step back
check wait_for blocks
check sha256sum -c /try/before
check test -e /var/lib/hedgerow/backups/journal.sqlite.of-*

check dpkg -r hedgerow
check test "$(pgrep -c -u hedgerow)" = 0
check test "$(nft list tables)" = ""
check test -e /var/lib/hedgerow/journal.sqlite
check dpkg -i "$new"
check wait_for blocks
check grep -q '# mine' /etc/hedgerow/hedgerow.yaml
mount --bind /var/lib/hedgerow /var/lib/hedgerow # as if it were a disk of its own
check dpkg -P hedgerow
umount /var/lib/hedgerow
check rmdir /var/lib/hedgerow
check test -z "$(find / -xdev -name '*hedgerow*' ! -path '/try/*' ! -path '/var/log/journal/*' ! -path '/proc/*')"
check sh -c '! getent passwd hedgerow'
