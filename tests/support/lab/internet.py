"""The lab's internet:

Knot as root and all zones (and DNS over QUIC), Unbound as every public resolver (plain, DoT, DoH), nginx as every site
(HTTP/1 to 3), tunnel servers, and echo servers.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from small_internet.authority import Authority, Leaf

from lab.nameservers import AUTHORITY4, ROOT4, TUNNEL4, nameservers
from lab.spaces import Space
from lab.tunnels import WEB_PROXY_PORT, Tunnels, tunnels
from lab.vpn import VPN4, VPN6

SITES = {
    "www.school.example": 10,
    "adult.example": 13,
    "www.wikipedia.org": 14,
    "en.wikipedia.org": 15,
    "www.childline.org.uk": 19,
    "www.google.com": 20,
    "forcesafesearch.google.com": 21,
    "captive.apple.com": 22,
    "dl.google.com": 23,
    "cdn.example": 24,
    "scratch.mit.edu": 25,
    "web.whatsapp.com": 101,
    "web.telegram.org": 102,
    "chat.signal.org": 103,
    "teams.microsoft.com": 104,
    "zoom.us": 105,
    "meet.google.com": 106,
    "discord.com": 107,
    "store.steampowered.com": 108,
    "www.xbox.com": 109,
    "www.playstation.com": 110,
    "www.minecraft.net": 111,
    "www.roblox.com": 112,
    "www.fortnite.com": 113,
}
APP_NAMES = {
    "g.whatsapp.net": "45.55.10.121",
    "eu-west.discord.media": "45.55.10.122",
    "play.server.example": "45.55.10.123",
}
"""Names of apps' servers that serve no pages. `lab.family_apps` starts them."""
FRONT = "cdn.example"
"""An allowed host that also serves a blocked site, as large hosts do: which one, the Host field inside TLS tells."""
NUMBERED = f"45-55-10-{SITES['adult.example']}.numbers.example"
"""A name for any address, at that of a blocked site."""
OWN_RESOLVER = "names.numbers.example"
"""The name of the unlisted resolver at `OWN4`, whose DNS over HTTPS is at `CLOUDFLARE_PORT` too."""
CLOUDFLARE_PORT = 2053
SELF_SIGNED, SELF_SIGNED4 = "private.numbers.example", "45.55.10.31"
"""An unlisted server with a certificate that it signed itself, as somebody's own proxy or tunnel has it."""
HTTPS_PROXY, HTTPS_PROXY4 = "office.numbers.example", "45.55.10.32"
"""A proxy behind TLS at an unlisted name, with a certificate that anybody trusts, as browsers' extensions use."""
RELAY, RELAY4 = "calls.numbers.example", "45.55.10.33"
"""A relay for calls behind TLS at an unlisted name, in place of a TURN server."""
PUBLIC_NAME = "cloudflare-ech.com"
"""The name that handshakes with sites of a well-known provider show when they hide the site's."""
RESOLVER = "cloudflare-dns.com"
"""The name of a well-known resolver, at `KNOWN4` and `KNOWN6`."""
PREFIX4, PREFIX6 = "45.55.10", "2600:9000:5300:"
"""The sites' addresses, from the real internet, since private ones are refused. Nothing leaves the namespace."""

UPSTREAM = "9.9.9.9"
KNOWN4, KNOWN6 = "1.1.1.1", "2606:4700:4700::1111"
"""A well-known resolver."""
OWN4, OWN6, ODD_PORT = f"{PREFIX4}.53", f"{PREFIX6}:53", 5222
UNNAMED_RESOLVER = f"{PREFIX4}.57"
"""An unlisted resolver. It also serves DNS over TLS at a port of another protocol."""
QUIC_PORT = 40853
"""Another port of the well-known resolver's DNS over QUIC."""
PEER4, PEER6 = f"{PREFIX4}.70", f"{PREFIX6}:70"
"""An echo server at `UDP_PORTS` and `TCP_PORTS`, in place of a game server, a VPN or a proxy."""
UNNAMED4, UNNAMED6 = f"{PREFIX4}.72", f"{PREFIX6}:72"
"""The same at addresses that no name leads to."""
PRIVATE4, PRIVATE6 = "192.168.1.50", "fd77::50"
"""The same at private addresses outside the home: at the provider's router, or behind its address translation."""
GAME4, GAME6, GAME_NAME = f"{PREFIX4}.73", f"{PREFIX6}:73", "game.example"
"""The same, and a name that one test alone looks up."""
TRANSPORT_NAMES = {
    how: (f"{how}.game.example", f"{PREFIX4}.{number}")
    for number, how in enumerate(("udp", "tcp", "tls", "https", "quic"), 80)
}
"""Names that one test alone looks up, each over one transport, with their addresses, where nobody serves."""
PEER_NAME, VPN_NAME = "peer.example", "vpn.example"
"""Names of the echo server and of the VPN server: no name, no connection."""
UDP_PORTS = (53, 80, 123, 443, 500, 853, 2408, 3074, 3478, 3544, 4500, 27015, 40000, 51820)
TCP_PORTS = (853, 993, 5222, 5223, 8443, 9001)


BIG_FILE, BIG_OCTETS = "/big", 2_000_000_000
"""A large sparse file on every site, for measurements."""


def address4(host: str) -> str:
    return f"{PREFIX4}.{SITES[host]}"


def address6(host: str) -> str:
    return f"{PREFIX6}:{SITES[host]}"


@dataclass(frozen=True, slots=True)
class Internet:
    space: Space
    authority: Authority
    tunnels: Tunnels


def internet(space: Space, folder: Path) -> Internet:
    """Start all servers in `space`, whose `eth0` is connected. Returns once they answer."""
    resolvers = (
        UPSTREAM,
        KNOWN4,
        KNOWN6,
        "8.8.8.8",
        "2001:4860:4860::8888",
        "208.67.222.222",
        OWN4,
        OWN6,
        UNNAMED_RESOLVER,
    )
    sites = [place(host) for host in SITES for place in (address4, address6)]
    peers = (PEER4, PEER6, UNNAMED4, UNNAMED6, PRIVATE4, PRIVATE6, GAME4, GAME6)
    for address in (*resolvers, *sites, *peers, SELF_SIGNED4, HTTPS_PROXY4, RELAY4, ROOT4, AUTHORITY4, TUNNEL4):
        space.ip("address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    authority = Authority(folder, "Laboratory root")
    leaf = authority.leaf(*SITES, HTTPS_PROXY, RELAY, PUBLIC_NAME, RESOLVER, NUMBERED, OWN_RESOLVER, *sites, *resolvers)
    hosts = {host: [address4(host), address6(host)] for host in SITES} | {
        RESOLVER: [KNOWN4, KNOWN6],
        NUMBERED: [address4("adult.example")],
    }
    hosts |= {OWN_RESOLVER: [OWN4, OWN6], SELF_SIGNED: [SELF_SIGNED4], HTTPS_PROXY: [HTTPS_PROXY4]}
    hosts |= {name: [address] for name, address in APP_NAMES.items()}
    hosts |= {RELAY: [RELAY4], PUBLIC_NAME: [address4(FRONT)]}
    hosts |= {PEER_NAME: [PEER4, PEER6], VPN_NAME: [VPN4, VPN6], GAME_NAME: [GAME4, GAME6]}
    hosts |= {name: [address] for name, address in TRANSPORT_NAMES.values()}
    hints = nameservers(space, folder, hosts, leaf, (KNOWN4, KNOWN6))
    (folder / "internet.resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    space.files["/etc/resolv.conf"] = folder / "internet.resolv.conf"
    (folder / "unbound.conf").write_text(_unbound(resolvers, leaf, hints))
    with (folder / "big").open("wb") as big:
        big.truncate(BIG_OCTETS)
    (folder / "nginx.conf").write_text(_nginx(leaf, authority.self_signed_leaf(SELF_SIGNED), folder))
    space.start("unbound", "-d", "-c", str(folder / "unbound.conf"), stderr=folder / "unbound.log")
    space.start(
        "nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;", stderr=folder / "nginx.log"
    )
    ports = [",".join(map(str, numbers)) for numbers in (UDP_PORTS, TCP_PORTS)]
    echo = space.start(
        sys.executable,
        "-P",
        str(Path(__file__).with_name("echo.py")),
        ",".join(peers),
        *ports,
        stderr=folder / "echo.log",
    )
    assert echo.stdout
    assert echo.stdout.readline() == "ready\n", (folder / "echo.log").read_text()
    tunnel = space.start(
        sys.executable, "-P", str(Path(__file__).with_name("icmp.py")), "serve", PEER4, stderr=folder / "icmp.log"
    )
    assert tunnel.stdout
    assert tunnel.stdout.readline() == "ready\n", (folder / "icmp.log").read_text()
    for address, port in ((HTTPS_PROXY4, WEB_PROXY_PORT), (RELAY4, ODD_PORT)):
        words, log = (
            (address, "443", str(leaf.certificate), str(leaf.key), PEER4, str(port)),
            folder / f"tls_front-{port}.log",
        )
        front = space.start(sys.executable, "-P", str(Path(__file__).with_name("tls_front.py")), *words, stderr=log)
        assert front.stdout
        assert front.stdout.readline() == "ready\n", log.read_text()
    chain = (
        f"type nat hook prerouting priority dstnat; ip daddr {KNOWN4} udp dport {QUIC_PORT} dnat ip to {KNOWN4}:853;"
    )
    chain += f" ip daddr {OWN4} tcp dport {CLOUDFLARE_PORT} dnat ip to {OWN4}:443;"
    done = space.run("nft", "-f", "-", text=f"table inet ports {{\nchain in {{\n{chain}\n}}\n}}\n")
    assert done.returncode == 0, done.stderr
    _wait_for_servers(space, folder)
    return Internet(space, authority, tunnels(space, folder, *peers))


def _wait_for_servers(space: Space, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        named = space.run("kdig", "+short", "+time=1", f"@{UPSTREAM}", "www.school.example").stdout.strip()
        page = space.run("curl", "-sk", "--max-time", "2", f"https://{address4('www.school.example')}/").stdout
        if named == address4("www.school.example") and page:
            return
        logs = "\n".join((folder / name).read_text() for name in ("unbound.log", "nginx.log"))
        assert time.monotonic() < deadline, f"the internet does not answer: {named!r}, {page!r}\n{logs}"
        time.sleep(0.1)


def _unbound(resolvers: tuple[str, ...], leaf: Leaf, hints: Path) -> str:
    ports = [f"  interface: {address}@{port}" for address in resolvers for port in (53, 443, 853)]
    ports += [
        "  interface: 208.67.222.222@5353",
        *(f"  interface: {each}@{ODD_PORT}" for each in (OWN4, UNNAMED_RESOLVER)),
    ]
    settings = (
        *(
            "server:",
            "  use-syslog: no",
            '  chroot: ""',
            '  username: ""',
            '  pidfile: ""',
            "  do-daemonize: no",
            "  access-control: 0.0.0.0/0 allow",
        ),
        *(
            "  access-control: ::/0 allow",
            "  https-port: 443",
            "  tls-port: 853",
            f"  tls-additional-port: {ODD_PORT}",
            f"  tls-service-key: {leaf.key}",
            "  num-threads: 1",
        ),
        *(f"  tls-service-pem: {leaf.certificate}", f"  root-hints: {hints}", "  qname-minimisation: no"),
        *("  module-config: iterator", "remote-control:", "  control-enable: no"),
    )
    return "\n".join([*settings[:-2], *ports, *settings[-2:]]) + "\n"


def _nginx(leaf: Leaf, own: Leaf, folder: Path) -> str:
    tls = f"ssl_certificate {own.certificate}; ssl_certificate_key {own.key};"
    page = f'location / {{ default_type text/plain; return 200 "page of {SELF_SIGNED}\\n"; }}'
    servers = [f"server {{ listen {SELF_SIGNED4}:443 ssl; {tls} {page} }}"]
    page = 'location / { default_type text/plain; return 200 "page of adult.example\\n"; }'
    fronted = (
        f"server {{ listen {address4(FRONT)}:443 ssl; listen [{address6(FRONT)}]:443 ssl; server_name adult.example;"
        f" {page} }}"
    )
    for host in SITES:
        places = (address4(host), f"[{address6(host)}]")
        listens = [
            f"listen {where}:{rest};"
            for where in places
            for rest in ("80", "443 ssl", "443 quic", "8443 ssl", "8443 quic", "8444 ssl", f"{CLOUDFLARE_PORT} ssl")
        ]
        page = f'location / {{ default_type text/plain; return 200 "page of {host}\\n"; }}'
        page += f" location = {BIG_FILE} {{ alias {folder}/big; }}"
        servers.append(f"server {{ {' '.join(listens)} http2 on; server_name {host}; {page} }}")
    servers.append(fronted)  # after that of the address itself, which is the default
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    tls = f"ssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key};"
    body = "\n".join(servers)
    head = f"user root;\npid {folder}/nginx.pid;\nworker_processes 1;\nevents {{ worker_connections 512; }}\n"
    return f"{head}http {{\naccess_log off; {paths}\n{tls}\n{body}\n}}\n"
