#!/bin/sh
# Upgrade from the release before, use what is newer, go back to it, and upgrade again: nothing is lost.
set -eu
. /try/functions.sh
no_row_lost() { ! python3 /try/lost_rows.py "$1" "$2" | grep . >&2; }
no_row_lost_but() { ! python3 /try/lost_rows.py "$2" "$3" | grep -v "^$1 " >&2; }
token() { cat $state/admin-token; }
post() { curl -sf -H "Authorization: Bearer $(token)" -H 'Content-Type: application/json' -d "$2" "http://127.0.0.1:8053/api/v1$1"; }

check dpkg -i $old
check wait_for blocks
seed
copy_journal /try/first.sqlite
sha256sum $state/ca/*.pem >/try/authority

check dpkg -i $new
check wait_for blocks
check version_is 0.2.0
copy_journal /try/upgraded.sqlite
check no_row_lost /try/first.sqlite /try/upgraded.sqlite
check sha256sum -c /try/authority

cat >>$policy <<END
  leo-phone: {mac: "aa:bb:cc:dd:ee:02"}
seats:
  seat-1: {ip: 192.168.9.101}
block: [web-archives, tiktok]
cafe:
  name: Sol
  currency: EUR
  articles: {Cola: 150}
END
sed -i 's/^people:/&\n  leo: {born: 2013-05, devices: [leo-phone]}/' $policy
check hedgerow check $policy
sleep 3
check hedgerow seat sell Cola --count 2
check hedgerow seat open seat-1 --as child --minutes 60
check hedgerow grant leo chess.com --for good
check post /members '{"name": "Mia"}'
check post /members/1/deposit '{"amount": 700}'
check wait_for sh -c "sqlite3 $journal 'SELECT action FROM counter_entries' | grep -q article"
cp $policy /try/policy
copy_journal /try/newer.sqlite

was=$(date +%s)
says 'left out: /etc/hedgerow/hedgerow.yaml:' dpkg -i $old
for key in people.leo.born 'block: web-archives' cafe; do check grep -F ": $key" /tmp/said; done
check wait_for blocks
note "$(($(date +%s) - was)) s from the beginning of the step back to the first answer"
check version_is 0.1.0
check wait_for refuses
check wait_for shows /check Hedgerow
check curl -sf -o /dev/null http://127.0.0.1:8053/
check test "$(systemctl show --property=NRestarts --value hedgerow)" = 0
check hedgerow check $policy
check cmp /try/policy $policy.before-downgrade-*
check sha256sum -c /try/authority
check owned
copy_journal /try/back.sqlite
check no_row_lost /try/first.sqlite /try/back.sqlite
check no_row_lost /try/newer.sqlite $state/backups/journal.sqlite.before-downgrade-*
check sh -c 'hedgerow log | grep -q tiktok'
check hedgerow grant mia lichess.org --for good # while the older version runs
kdig @192.168.9.1 +short +timeout=1 +retry=0 c.example >/dev/null || true
check wait_for sh -c "sqlite3 $journal 'SELECT subject FROM grants' | grep -q lichess"
copy_journal /try/older.sqlite

says 'The policy is as it was before the downgrade' dpkg -i $new
check wait_for blocks
check version_is 0.2.0
check cmp /try/policy $policy
check sha256sum -c /try/authority
check owned
copy_journal /try/again.sqlite
check no_row_lost /try/older.sqlite /try/again.sqlite
# Which version of the rules decided is in the copy alone.
check no_row_lost_but decisions /try/newer.sqlite /try/again.sqlite
check hedgerow seat audit --entries --verify
check wait_for shows /check Hedgerow

# The policy is changed while the older version runs: then nothing is put back, and nothing is lost.
check dpkg -i $old
check wait_for blocks
echo '# mine' >>$policy
says 'The policy was changed after the downgrade, and stays as it is' dpkg -i $new
check wait_for blocks
check grep -qx '# mine' $policy
check cmp /try/policy $policy.before-downgrade-*
