#!/bin/sh
# The lines of docs/install/apt-repository.md for each machine, as they are there, with a web server in this machine as apt.code.example.
set -eu
. /try/functions.sh
serve() { # the folder /srv/apt, as a web server with a certificate does
    echo "127.0.0.1 apt.code.example $(hostname)" >>/etc/hosts
    cd /try
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=apt.code.example -addext subjectAltName=DNS:apt.code.example \
        -days 2 -keyout key.pem -out apt.crt 2>/dev/null
    cp apt.crt /usr/local/share/ca-certificates && update-ca-certificates >/dev/null 2>&1
    systemd-run --quiet --unit=apt-server python3 -c "
import functools, http.server, ssl
http.server.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1' # apt expects connections to be closed as TLS wants
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory='/srv/apt')
server = http.server.ThreadingHTTPServer(('127.0.0.1', 443), handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain('/try/apt.crt', '/try/key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()"
    cd /
}
page() { # the commands of a step of the page
    sed -n "/^## $1\./,/^## /s/^\\$ //p" /try/apt-repository.md
}
run_page() {
    page "$1" >/tmp/commands
    check test -s /tmp/commands
    while read -r command; do
        echo "line: $command"
        check sh -c "$(echo "$command" | sed 's/apt install/apt install --yes/')" </dev/null
    done </tmp/commands
}
installed() { dpkg-query -W -f '${Version}' hedgerow; }

rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* # no network: what Hedgerow depends on is installed
mkdir -p /srv && cp -a /try/repo-before /srv/apt
serve
check wait_for curl -sf -o /dev/null https://apt.code.example/hedgerow.sources
run_page 4
check test "$(installed)" = 0.1.0
check wait_for blocks
check sh -c "gpg --show-keys /usr/share/keyrings/hedgerow-archive-keyring.gpg | grep -q release@code.example"
check grep -qx 'Signed-By: /usr/share/keyrings/hedgerow-archive-keyring.gpg' /etc/apt/sources.list.d/hedgerow.sources
says 'o=Hedgerow,a=stable' apt-cache policy
seed

# The next release.
rm -rf /srv/apt && cp -a /try/repo /srv/apt
check apt-get update
check apt-get upgrade --yes
check test "$(installed)" = 0.2.0
check wait_for blocks
check sh -c 'hedgerow log | grep -q tiktok'
check sh -c 'echo y | apt install hedgerow=0.1.0'
check test "$(installed)" = 0.1.0
check wait_for blocks
check apt-get upgrade --yes
check test "$(installed)" = 0.2.0
check wait_for blocks

# Another key's repository, or a changed index, is refused.
cp -a /srv/apt /srv/good
sed -i 's/^Version: 0.2.0/Version: 0.2.9/' /srv/apt/dists/stable/main/binary-*/Packages
gzip --keep --force /srv/apt/dists/stable/main/binary-*/Packages
rm -rf /var/lib/apt/lists/*
check sh -c '! apt-get update || ! apt-cache policy hedgerow | grep -q 0.2.9'
rm -rf /srv/apt && cp -a /try/repo-of-others /srv/apt
says 'is not signed' apt-get update
check apt-get remove --yes hedgerow
check apt-get purge --yes hedgerow
