#!/bin/sh
# Remove, reinstall, purge and reinstall: what stays is said, and nothing else stays.
set -eu
. /try/functions.sh
rest() { find / -xdev -name '*hedgerow*' ! -path '/try/*' ! -path '/var/log/journal/*' ! -path '/var/tmp/*' ! -path '/proc/*'; }

check dpkg -i $new
check wait_for blocks
seed
check hedgerow backup /var/tmp/hedgerow.tar.gz
install -o hedgerow -g hedgerow -m 0600 /dev/null /var/log/hedgerow/decisions.log
sha256sum $state/ca/*.pem $policy >/try/before

says 'the policy stays in /etc/hedgerow, and what was recorded in /var/lib/hedgerow and /var/log/hedgerow' dpkg -r hedgerow
check test "$(pgrep -c -u hedgerow)" = 0
check sha256sum -c /try/before
check test ! -e /opt/hedgerow
check dpkg -i $new
check wait_for blocks
check sha256sum -c /try/before
check sh -c 'hedgerow log | grep -q tiktok'

says "Devices that trusted Hedgerow's certificate still do: remove it there." dpkg -P hedgerow
check test -z "$(rest)"
check sh -c '! getent passwd hedgerow && ! getent group hedgerow'
check test -z "$(find / -xdev -nouser ! -path '/proc/*' ! -path '/var/tmp/*' ! -path '/try/*')"
check test -e /var/tmp/hedgerow.tar.gz

check dpkg -i $new
check wait_for blocks
check sh -c '! sha256sum --status -c /try/before'
check owned
systemctl stop hedgerow
check chown hedgerow: /var/tmp/hedgerow.tar.gz
check hedgerow restore /var/tmp/hedgerow.tar.gz --replace
check systemctl start hedgerow
check wait_for blocks
check sh -c "sha256sum -c /try/before 2>/dev/null | grep -q 'pem: OK'"
check dpkg -P hedgerow
check test -z "$(rest)"
