#!/bin/sh
# Tries the Debian packages of the last commit and of the release before, each part in a fresh Debian that systemd-nspawn boots without a
# network. Needs root, mmdebstrap, systemd-container, apt-utils, gpg, the history of the repository and Debian's archive. Takes ten minutes.
# Usage: try.sh [PART...], where a part is router, step-back, restore, purge or repository (default: all). What was seen is written to
# bench/results/packages.md. RELEASE is Debian's release; PACKAGES is a folder with packages that are built already. With TMPDIR=/dev/shm
# the machines are in memory, which takes three gigabytes of it and half the time.
set -eu
umask 022
cd "$(dirname "$0")/../.."
for program in mmdebstrap:mmdebstrap systemd-nspawn:systemd-container apt-ftparchive:apt-utils gpg:gpg dpkg-deb:dpkg; do
    command -v "${program%:*}" >/dev/null || {
        echo "$0 needs ${program%:*}: apt-get install ${program#*:}" >&2
        exit 1
    }
done
checkout=$PWD
parts=${*:-router step-back restore purge repository}
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT INT TERM
try=$work/try
mkdir "$try"

now=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
before=$(sed -n 's/^version: //p' hedgerow/app/release_before.yaml)
packages=${PACKAGES:-$work/packages}
# Each commit is built in a copy of its own, with the tools of this checkout's environment.
build() { # VERSION COMMIT
    package=$packages/hedgerow_${1}_$(dpkg --print-architecture).deb
    if [ ! -e "$package" ]; then
        git clone --quiet --shared . "$work/$1"
        git -C "$work/$1" checkout --quiet "$2"
        ln -s "$checkout/.venv" "$work/$1/.venv"
        "$work/$1/packaging/debian/build.sh" "$packages" 2>/dev/null
    fi
}
# The last commit of that release: the one before its number was changed.
changed=$(git log -1 --format=%H -S"version = \"$before\"" -- pyproject.toml)
build "$before" "$(git rev-parse --verify --quiet "v$before" || git rev-parse "$changed^")"
build "$now" HEAD
cp "$packages/hedgerow_${before}_"*.deb "$try/old.deb"
cp "$packages/hedgerow_${now}_"*.deb "$try/new.deb"
# The same package as a later version.
dpkg-deb -R "$try/new.deb" "$work/later"
sed -i 's/^Version: .*/&+later/' "$work/later/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/later" "$try/later.deb" >/dev/null
cp packaging/debian/try/* docs/install/apt-repository.md "$try"

# Steps 1 and 2 of the page about a repository, with its own lines. A key on the machine itself would have a password.
repository() { # FOLDER KEY PACKAGE...
    folder=$1 key=$2
    shift 2
    mkdir -p "$work/dist" "$folder"
    cp "$@" "$work/dist"
    packaging/debian/repo.sh "$work/dist" "$folder" "$key" https://apt.code.example
}
if [ "${parts#*repository}" != "$parts" ]; then
    export GNUPGHOME="$work/gnupg"
    mkdir -m 700 "$GNUPGHOME"
    sed -n 's/^\$ gpg --quick/gpg --batch --passphrase "" --quick/p' docs/install/apt-repository.md | sh 2>/dev/null
    gpg --batch --passphrase '' --quick-generate-key others@code.example ed25519 sign never 2>/dev/null
    repository "$try/repo-before" release@code.example "$packages/hedgerow_${before}_"*.deb
    cp -a "$try/repo-before" "$try/repo"
    line=$(sed -n 's/^\$ \(make repo KEY=.* URL=https.*\)/\1/p' docs/install/apt-repository.md)
    git clone --quiet --shared . "$work/make"
    mkdir "$work/make/build" "$work/make/dist"
    mv "$try/repo" "$work/make/build/repo"
    cp "$packages/hedgerow_${now}_"*.deb "$work/make/dist"
    (cd "$work/make" && sh -c "$line" && mv build/repo "$try/repo")
    repository "$try/repo-of-others" others@code.example "$packages/hedgerow_${now}_"*.deb
fi

# The package's dependencies, since there is no network inside, and the test's clients.
mmdebstrap --quiet --variant=minbase "${RELEASE:-trixie}" "$work/base" --include="systemd-sysv,nftables,adduser,ca-certificates,python3,iproute2,\
procps,knot-dnsutils,curl,sqlite3,sudo,openssl,gpg,gpgv,bsdutils,mawk"
echo force-unsafe-io >"$work/base/etc/dpkg/dpkg.cfg.d/try"
network=$work/base/etc/systemd/network
for port in lan wan; do
    printf '[NetDev]\nName=%s\nKind=veth\n[Peer]\nName=%s-peer\n' $port $port >"$network/$port.netdev"
    printf '[Match]\nName=%s-peer\n[Network]\nLinkLocalAddressing=ipv6\n' $port >"$network/$port-peer.network"
done
printf '[Match]\nName=lan\n[Network]\nAddress=192.168.9.1/24\n' >"$network/lan.network"
printf '[Match]\nName=wan\n[Network]\nDHCP=yes\n' >"$network/wan.network" # no DHCP server: the provider is down
cat >"$work/base/etc/systemd/system/try.service" <<'END'
[Unit]
After=systemd-networkd.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
Environment=DEBIAN_FRONTEND=noninteractive HOME=/root LANG=C.UTF-8
ExecStart=/bin/sh -eu /try/now.sh
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >/try/status'
StandardOutput=append:/try/out
StandardError=append:/try/out
[Install]
WantedBy=multi-user.target
END
chroot "$work/base" systemctl --quiet enable systemd-networkd try.service 2>/dev/null

boot() { # SCRIPT, in the machine $work/machine
    cp "$work/machine/try/$1.sh" "$work/machine/try/now.sh"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$work/machine" --machine="try-$$" --boot --private-network --register=no --keep-unit \
        --console=pipe </dev/null >/dev/null 2>&1 || true
    test "$(cat "$work/machine/try/status")" = 0
}
results=bench/results/packages.md
commit=$(dpkg-deb --fsys-tarfile "$try/new.deb" | tar -xO --wildcards '*/hedgerow/commit.txt' | cut -c-12)
write_results() { # PART SECONDS: its row and notes in place of those of an earlier run
    sentence=$(sed -n '2s/^# //p' "packaging/debian/try/$1.sh")
    sed -n '/^| [a-z-]* | [A-Z]/p; /^- /p' $results 2>/dev/null | grep -v -e "^| $1 |" -e "^- $1: " >"$work/results" || true
    echo "| $1 | $sentence | $(grep -c '^good: ' "$work/machine/try/out") | $2 | $commit |" >>"$work/results"
    sed -n "s/^note: /- $1: /p" "$work/machine/try/out" >>"$work/results"
    cat >$results <<END
# The Debian packages, as tried by \`make try-packages\`

Debian ${RELEASE:-trixie}, $(uname -m), under systemd-nspawn; the release before is $before. Every check held; they stand in \`packaging/debian/try\`.

| part | what is tried | checks | seconds | commit |
|---|---|---:|---:|---|
$(grep '^|' "$work/results" | sort)

$(grep '^-' "$work/results" | sort)
END
}
for part in $parts; do
    echo "== $part"
    rm -rf "$work/machine"
    cp -a "$work/base" "$work/machine"
    cp -a "$try" "$work/machine/try"
    was=$(date +%s)
    : >"$work/machine/try/out"
    if ! { boot "$part" && if [ "$part" = router ]; then boot router-again; fi; }; then
        cat "$work/machine/try/out"
        exit 1
    fi
    cat "$work/machine/try/out"
    write_results "$part" $(($(date +%s) - was))
done
