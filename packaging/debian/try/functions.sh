# What all parts of `try.sh` need. They run as root in a machine of their own, without a network.
old=/try/old.deb     # the release before
new=/try/new.deb     # the last commit
later=/try/later.deb # the last commit as a later version
state=/var/lib/hedgerow
journal=$state/journal.sqlite
policy=/etc/hedgerow/hedgerow.yaml
check() { if "$@" >/tmp/output 2>&1; then echo "good: $*"; else echo "BAD: $*"; cat /tmp/output; journalctl -u 'hedgerow*' --no-pager -n 40; exit 1; fi; }
says() { # COMMAND's output has a line with TEXT
    text=$1
    shift
    "$@" >/tmp/said 2>&1 || true
    check grep -F -e "$text" /tmp/said
}
note() { echo "note: $*"; }
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
version_is() { hedgerow --version | grep -q "^hedgerow $1"; }
copy_journal() { rm -f "$1" && sqlite3 "$journal" "VACUUM INTO '$1'"; }
owned() { ! find "$state" ! -user hedgerow -o ! -group hedgerow -o -type f -perm /077 | grep . >&2 && test "$(stat -c %a "$state")" = 700; }
seed() { # as a family begins: a password, a grant, a code, and names that devices asked for
    cat >$policy <<END
# The family's own words.
network:
  unknown_devices: child-8-12   # guests too
people:
  mia: {age: 9, devices: [mia-tablet], bedtime: {school-nights: "20:30-07:00"}}
devices:
  mia-tablet: {mac: "aa:bb:cc:dd:ee:01"}
  television: {ip: 192.168.9.1}
END
    sleep 3 # until it is in force
    check sh -c 'echo correct horse battery | hedgerow password'
    check hedgerow grant mia wikipedia.org --for good
    check hedgerow code mia --open chess.com
    for name in www.tiktok.com a.example b.example; do kdig @192.168.9.1 +short +timeout=1 +retry=0 $name >/dev/null || true; done
    check wait_for sh -c 'hedgerow log | grep -q tiktok'
}
