"""The small internet of the laboratory: Unbound as every public resolver (plain, DoT, DoH), nginx as every site (HTTP/1 to 3), echoes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from small_internet.authority import Authority, Leaf

from lab.spaces import Space

SITES = {"www.school.example": 10, "adult.example": 13, "www.wikipedia.org": 14, "www.childline.org.uk": 19}
RESOLVER = "cloudflare-dns.com"
"""The name of a resolver that everybody knows, at `KNOWN4` and `KNOWN6`."""
PREFIX4, PREFIX6 = "45.55.10", "2600:9000:5300:"
"""Where the sites are. Addresses of the real internet, since private ones would be refused for that; nothing leaves the namespace."""

UPSTREAM = "9.9.9.9"
KNOWN4, KNOWN6 = "1.1.1.1", "2606:4700:4700::1111"
"""A resolver that everybody knows."""
OWN4, OWN6 = f"{PREFIX4}.53", f"{PREFIX6}:53"
"""A resolver that no list knows."""
PEER4, PEER6 = f"{PREFIX4}.70", f"{PREFIX6}:70"
"""A machine that echoes what it gets, at every port of `UDP_PORTS` and `TCP_PORTS`: a game's server, a VPN, a proxy."""
UDP_PORTS = (53, 80, 123, 443, 500, 853, 1194, 4500, 27015, 40000, 51820)
TCP_PORTS = (22, 443, 853, 1080, 1194, 5222, 8080, 9001)


def address4(host: str) -> str:
    return f"{PREFIX4}.{SITES[host]}"


def address6(host: str) -> str:
    return f"{PREFIX6}:{SITES[host]}"


@dataclass(frozen=True, slots=True)
class Internet:
    space: Space
    authority: Authority


def internet(space: Space, folder: Path) -> Internet:
    """Starts every server in `space`, whose interface `eth0` is connected already. Returns once they answer."""
    resolvers = (UPSTREAM, KNOWN4, KNOWN6, "8.8.8.8", "2001:4860:4860::8888", "208.67.222.222", OWN4, OWN6)
    sites = [place(host) for host in SITES for place in (address4, address6)]
    for address in (*resolvers, *sites, PEER4, PEER6):
        space.ip("address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    authority = Authority(folder, "Laboratory root")
    leaf = authority.leaf(*SITES, RESOLVER, *sites, *resolvers)
    (folder / "unbound.conf").write_text(_unbound(resolvers, leaf))
    (folder / "nginx.conf").write_text(_nginx(leaf, folder))
    space.start("unbound", "-d", "-c", str(folder / "unbound.conf"), stderr=folder / "unbound.log")
    space.start("nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;", stderr=folder / "nginx.log")
    ports = [",".join(map(str, numbers)) for numbers in (UDP_PORTS, TCP_PORTS)]
    echo = space.start(sys.executable, "-P", str(Path(__file__).with_name("echo.py")), PEER4, PEER6, *ports, stderr=folder / "echo.log")
    assert echo.stdout
    assert echo.stdout.readline() == "ready\n", (folder / "echo.log").read_text()
    _wait_for_servers(space, folder)
    return Internet(space, authority)


def _wait_for_servers(space: Space, folder: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        named = space.run("kdig", "+short", "+time=1", f"@{UPSTREAM}", "www.school.example").stdout.strip()
        page = space.run("curl", "-sk", "--max-time", "2", f"https://{address4('www.school.example')}/").stdout
        if named == address4("www.school.example") and page:
            return
        logs = "\n".join((folder / name).read_text() for name in ("unbound.log", "nginx.log"))
        assert time.monotonic() < deadline, f"the internet does not answer: {named!r}, {page!r}\n{logs}"
        time.sleep(0.1)


def _unbound(resolvers: tuple[str, ...], leaf: Leaf) -> str:
    ports = [f"  interface: {address}@{port}" for address in resolvers for port in (53, 443, 853)]
    ports.append("  interface: 208.67.222.222@5353")
    records = [
        f'  local-data: "{host}. 300 IN {kind} {place(host)}"' for host in SITES for kind, place in (("A", address4), ("AAAA", address6))
    ]
    records += [f'  local-data: "{RESOLVER}. 300 IN {kind} {address}"' for kind, address in (("A", KNOWN4), ("AAAA", KNOWN6))]
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
        *("  access-control: ::/0 allow", "  https-port: 443", "  tls-port: 853", f"  tls-service-key: {leaf.key}", "  num-threads: 1"),
        *(f"  tls-service-pem: {leaf.certificate}", '  local-zone: "." static', '  local-data: "data.tunnel.example. 1 IN TXT hello"'),
        *("  module-config: iterator", "remote-control:", "  control-enable: no"),
    )
    return "\n".join([*settings[:-2], *ports, *records, *settings[-2:]]) + "\n"


def _nginx(leaf: Leaf, folder: Path) -> str:
    servers = []
    for host in SITES:
        listens = [f"listen {where}:{rest};" for where in (address4(host), f"[{address6(host)}]") for rest in ("80", "443 ssl", "443 quic")]
        page = f'location / {{ default_type text/plain; return 200 "page of {host}\\n"; }}'
        servers.append(f"server {{ {' '.join(listens)} http2 on; server_name {host}; {page} }}")
    paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    tls = f"ssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key};"
    body = "\n".join(servers)
    head = f"user root;\npid {folder}/nginx.pid;\nworker_processes 1;\nevents {{ worker_connections 512; }}\n"
    return f"{head}http {{\naccess_log off; {paths}\n{tls}\n{body}\n}}\n"
