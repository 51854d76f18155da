#!/bin/sh
# Restore a backup over an installation in use: asked, kept, interrupted twenty times, of a newer version, and as root.
set -eu
. /try/functions.sh
tree() { (cd $state && find . -type f ! -path './run/*' ! -name lock ! -name '*-shm' ! -name '*-wal' -exec sha256sum {} + | sort -k 2); }
answer() { echo "$1" | script -qec "hedgerow restore $backup" /dev/null; }
kept() { find $state -maxdepth 1 -name 'before-restore-*' | sort; }
grants() { # how many there are for lichess.org in FOLDER's journal: one before a restore, none after it. A copy is read, since reading writes the log.
    rm -rf /tmp/look && mkdir /tmp/look && cp "$1"/journal.sqlite* /tmp/look
    test "$(sqlite3 /tmp/look/journal.sqlite 'PRAGMA integrity_check')" = ok
    test "$(sqlite3 /tmp/look/journal.sqlite 'SELECT count(*) FROM decisions WHERE at < 1700500000')" = 400000
    sqlite3 /tmp/look/journal.sqlite "SELECT count(*) FROM grants WHERE subject LIKE 'lichess%'"
}

check dpkg -i $new
check wait_for blocks
seed
# Long enough to be interrupted: 400,000 decisions.
sqlite3 $journal "INSERT INTO decisions (at, device, profile, kind, verdict, reason, what, url, rule, count)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
    SELECT 1700000000 + i, 'mia-tablet', 'child', 'dns', 'allow', 'default', hex(randomblob(12)) || '.example', '', '', 1 FROM n"
backup=/var/tmp/hedgerow.tar.gz
check hedgerow backup $backup
check test "$(stat -c %U:%a $backup)" = hedgerow:600
check hedgerow grant mia lichess.org --for good # after the backup
says 'stop it first' hedgerow restore $backup
systemctl stop hedgerow
tree >/try/before

# Asked, and refused: nothing changes.
says 'journal.sqlite. --replace replaces and keeps them' hedgerow restore $backup </dev/null
tree >/try/after && check cmp /try/before /try/after
says Aborted answer n
tree >/try/after && check cmp /try/before /try/after
check test -z "$(kept)"

# A file of root's: the sentence says as whom it is opened. A folder that root stands in is no obstacle.
cp $backup /root/hedgerow.tar.gz
says 'This runs as the user hedgerow' sh -c 'cd /root && hedgerow restore /root/hedgerow.tar.gz --replace'
says 'This runs as the user hedgerow' hedgerow backup /root/other.tar.gz
tree >/try/after && check cmp /try/before /try/after

# Of a newer version.
mkdir /tmp/newer && tar -C /tmp/newer -xzf $backup
sqlite3 /tmp/newer/journal.sqlite "UPDATE alembic_version SET version_num = '9999'"
tar -C /tmp/newer -czf /var/tmp/newer.tar.gz . --transform 's,^\./,,' && chown hedgerow: /var/tmp/newer.tar.gz
says 'A newer Hedgerow wrote this backup: install that version, and restore it with that.' hedgerow restore /var/tmp/newer.tar.gz --replace
tree >/try/after && check cmp /try/before /try/after
check test -z "$(kept)"

# Interrupted twenty times, at moments from the start to the end.
cp -a $state /tmp/original
check test "$(grants /tmp/original)" = 1
was=$(date +%s%N)
check hedgerow restore $backup --replace
took=$((($(date +%s%N) - was) / 1000000))
check owned
first=$(kept)
check test "$(grants "$first")$(grants $state)" = 10
rm -rf $state && cp -a /tmp/original $state
swapped=0
for round in $(seq 20); do
    hedgerow restore $backup --replace >/dev/null 2>&1 &
    restoring=$!
    sleep "$(awk "BEGIN { print $round * $took / 20500 }")"
    kill -KILL $restoring 2>/dev/null || true
    wait $restoring 2>/dev/null || true
    # The journal of before is in place, or in the first kept folder; the other files are in place whatever happened.
    if [ "$(grants $state)" != 1 ]; then
        swapped=$((swapped + 1))
        check test "$(grants "$(kept | head -n 1)")" = 1
    fi
    check cmp /tmp/original/ca/hedgerow-ca.pem $state/ca/hedgerow-ca.pem
    check owned
    if [ "$round" = 10 ]; then # it starts also from between
        check systemctl start hedgerow
        check wait_for blocks
        systemctl stop hedgerow
        rm -rf $state && cp -a /tmp/original $state
    fi
done
note "20 restores killed within the $took ms that one takes; after $swapped of them the journal was the backup's, and the other kept"

# To the end.
check hedgerow restore $backup --replace
check test -z "$(find $state -name '.before-restore-*' -o -name '.*.restored')"
check test "$(grants "$(kept | head -n 1)")$(grants $state)" = 10
check owned
check systemctl start hedgerow
check wait_for blocks

# By the answer at a terminal, on a machine that has nothing yet, and with the policy into /etc/hedgerow.
systemctl stop hedgerow
sqlite3 $journal "DELETE FROM grants" && chown hedgerow: $state/journal.sqlite*
says 'What was there before is in' answer y
check owned
cp $policy /try/policy
rm -rf $state && install -d -o hedgerow -g hedgerow -m 0700 $state && rm $policy
check sh -c "cd /root && hedgerow restore $backup"
check cmp /try/policy $policy
check test "$(stat -c %U $policy)" = hedgerow
check owned
check systemctl start hedgerow
check wait_for blocks
