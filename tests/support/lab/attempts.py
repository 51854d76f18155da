"""Ways round the filter, each tried with the tool that somebody would take. `docs/ways-round.md` is made of them.

An attempt gets through when its aim is reached: a closed page is read, a name is resolved by somebody else, bytes come back through
what could be a tunnel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from lab.house import LAN4, LAN6, MACS, NUMBERS, House, give_address
from lab.internet import KNOWN4, KNOWN6, OWN4, OWN6, PEER4, PEER6, RESOLVER, SITES, address4, address6
from lab.spaces import Space
from lab.vpn import VPN4, VPN6

CLOSED, OPEN_SITE = "adult.example", "www.school.example"
OTHER_MAC = "02:00:00:00:77:01"
DATAGRAM = """
import socket, sys
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
peer = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(1)
peer.connect((address, port))
peer.send(bytes(size))
sys.exit(len(peer.recv(65536)) != size)
"""
STREAM = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
peer.settimeout(2)
peer.sendall(b"SSH-2.0-tunnel\\r\\n")
sys.exit(not peer.recv(100).startswith(b"SSH-2.0-tunnel"))
"""
RAW = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[2]))
peer.settimeout(1)
peer.connect((sys.argv[1], 0))
peer.send(b"a packet inside a packet")
sys.exit(b"a packet inside" not in peer.recv(65536))
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """`normally` and `strictly`: whether a guarded device gets through; `why` says what Hedgerow does, or why the way is open.

    `pages`: closed only where pages come to the proxy without being sent there.
    """

    what: str
    tool: str
    aim: Callable[[House, Space], bool]
    why: str
    normally: bool = False
    strictly: bool = False
    pages: bool = False


def asks(server: str, *options: str, name: str = CLOSED) -> Callable[[House, Space], bool]:
    """Whether `server` itself tells where a closed site is."""

    def aim(_house: House, device: Space) -> bool:
        words = ("kdig", "+short", "+time=1", "+retry=0", f"@{server}", *options, name)
        return address4(CLOSED) in device.run(*words).stdout

    return aim


def reads(*words: str, page: str = CLOSED) -> Callable[[House, Space], bool]:
    """Whether curl shows a page."""

    def aim(_house: House, device: Space) -> bool:
        return f"page of {page}" in device.run("curl", "-sk", "--max-time", "3", *words).stdout

    return aim


def wireguard(address: str, port: int) -> Callable[[House, Space], bool]:
    """Whether a tunnel comes about."""
    return lambda house, device: house.vpn.carries(device, address, port)


def datagram(address: str, port: int, size: int = 148) -> Callable[[House, Space], bool]:
    """Whether a datagram of `size` comes back."""
    return lambda _house, device: device.run(sys.executable, "-c", DATAGRAM, address, str(port), str(size)).returncode == 0


def stream(address: str, port: int) -> Callable[[House, Space], bool]:
    return lambda _house, device: device.run(sys.executable, "-c", STREAM, address, str(port)).returncode == 0


def raw(number: int) -> Callable[[House, Space], bool]:
    return lambda _house, device: device.run(sys.executable, "-c", RAW, PEER4, str(number)).returncode == 0


def tunnels_in_names(_house: House, device: Space) -> bool:
    """Whether what a stranger's own nameserver says reaches the device."""
    return "hello" in device.run("kdig", "+short", "+time=2", f"@{LAN4}.1", "data.tunnel.example", "TXT").stdout


def lies_about_the_name(_house: House, device: Space) -> bool:
    """A handshake that names an open site, with the address of a closed one, and then a request for the closed one."""
    words = ("openssl", "s_client", "-quiet", "-connect", f"{address4(CLOSED)}:443", "-servername", OPEN_SITE)
    request = f"GET / HTTP/1.1\r\nHost: {CLOSED}\r\nConnection: close\r\n\r\n"
    return f"page of {CLOSED}" in device.run(*words, text=request, seconds=3).stdout


def with_another_mac(_house: House, device: Space) -> bool:
    own = MACS["tablet"]
    try:
        _set_mac(device, OTHER_MAC, 10)
        return asks("8.8.8.8")(_house, device) or asks(f"{LAN4}.1")(_house, device)
    finally:
        _set_mac(device, own, 10)


def with_another_address(house: House, device: Space) -> bool:
    """The address that the parent's device has at other times."""
    try:
        give_address(device, 77)
        return asks("8.8.8.8")(house, device) or asks("2001:4860:4860::8888")(house, device) or asks(f"{LAN4}.1")(house, device)
    finally:
        give_address(device, NUMBERS["tablet"])


def with_a_private_address(house: House, device: Space) -> bool:
    """A temporary IPv6 address (RFC 8981), used as the source."""
    fresh = f"{LAN6}:dead:beef:1:2"
    device.ip("address", "add", f"{fresh}/64", "dev", "eth0", "nodad")
    try:
        return asks("2001:4860:4860::8888", "-b", fresh)(house, device) or asks(f"{LAN6}:1", "-b", fresh)(house, device)
    finally:
        device.ip("address", "delete", f"{fresh}/64", "dev", "eth0")


def _set_mac(device: Space, mac: str, number: int) -> None:
    device.ip("link", "set", "eth0", "down")
    device.ip("link", "set", "eth0", "address", mac)
    device.ip("link", "set", "eth0", "up")
    give_address(device, number)


def at(host: str, place: Callable[[str], str] = address4) -> tuple[str, ...]:
    """For curl: what an edited hosts file would do."""
    where = place(host)
    shown = f"[{where}]" if ":" in where else where
    return ("--resolve", f"{host}:80:{shown}", "--resolve", f"{host}:443:{shown}")


_NAMES = "the question is answered by Hedgerow, whoever it was sent to"
_REFUSED = "refused by the gateway"
_JUDGED = "carried to the proxy, which judges the name and resolves it itself"
_HANDSHAKE = "its first message is refused at whatever port"
_UNLISTED = "looks like any other traffic; strict mode refuses it"

ATTEMPTS: tuple[Attempt, ...] = (
    Attempt("Ask the router as usual", "kdig", asks(f"{LAN4}.1"), "blocked by the policy"),
    Attempt("Ask the router over IPv6", "kdig", asks(f"{LAN6}:1"), "blocked by the policy"),
    Attempt("Set another resolver", "kdig", asks("8.8.8.8"), _NAMES),
    Attempt("Set another resolver, over TCP", "kdig +tcp", asks("8.8.8.8", "+tcp"), _NAMES),
    Attempt("Set another resolver, over IPv6", "kdig", asks("2001:4860:4860::8888"), _NAMES),
    Attempt("Set another resolver, over IPv6 and TCP", "kdig +tcp", asks("2001:4860:4860::8888", "+tcp"), _NAMES),
    Attempt("Set a resolver that no list knows", "kdig", asks(OWN4), _NAMES),
    Attempt("Set a resolver that no list knows, over IPv6", "kdig", asks(OWN6), _NAMES),
    Attempt("A resolver at another port (OpenDNS, 5353)", "kdig -p 5353", asks("208.67.222.222", "-p", "5353"), _REFUSED),
    Attempt("DNS over TLS, a known resolver", "kdig +tls", asks(KNOWN4, "+tls"), _REFUSED),
    Attempt("DNS over TLS, over IPv6", "kdig +tls", asks(KNOWN6, "+tls"), _REFUSED),
    Attempt("DNS over TLS, a resolver that no list knows", "kdig +tls", asks(OWN4, "+tls"), _REFUSED),
    Attempt("DNS over QUIC (853/udp)", "a datagram", datagram(PEER4, 853), _REFUSED),
    Attempt("DNS over HTTPS by address, a known resolver", "kdig +https", asks(KNOWN4, "+https"), _REFUSED),
    Attempt("DNS over HTTPS by address, over IPv6", "kdig +https", asks(KNOWN6, "+https"), _REFUSED),
    Attempt("DNS over HTTPS by address, a resolver that no list knows", "kdig +https", asks(OWN4, "+https"), _JUDGED, pages=True),
    Attempt("DNS over HTTPS by address, no list, over IPv6", "kdig +https", asks(OWN6, "+https"), _JUDGED, pages=True),
    Attempt(
        *("DNS over HTTPS by name, in the browser", "curl --doh-url"),
        reads("--doh-insecure", "--doh-url", f"https://{RESOLVER}/dns-query", f"http://{CLOSED}/"),
        "the resolver's own name is blocked (category bypass)",
    ),
    Attempt("Edit the hosts file, plain HTTP", "curl --resolve", reads(*at(CLOSED), f"http://{CLOSED}/"), _JUDGED, pages=True),
    Attempt("Edit the hosts file, HTTPS", "curl --resolve", reads(*at(CLOSED), f"https://{CLOSED}/"), _JUDGED, pages=True),
    Attempt("Edit the hosts file, IPv6", "curl --resolve", reads(*at(CLOSED, address6), f"https://{CLOSED}/"), _JUDGED, pages=True),
    Attempt("The address instead of the name, plain HTTP", "curl", reads(f"http://{address4(CLOSED)}/"), _JUDGED, pages=True),
    Attempt("The address instead of the name, HTTPS", "curl", reads(f"https://{address4(CLOSED)}/"), _JUDGED, pages=True),
    Attempt("The address instead of the name, IPv6", "curl", reads(f"https://[{address6(CLOSED)}]/"), _JUDGED, pages=True),
    Attempt("HTTP/3 to a closed site", "curl --http3-only", reads("--http3-only", *at(CLOSED), f"https://{CLOSED}/"), _REFUSED),
    Attempt(
        "HTTP/3 to a closed site, IPv6", "curl --http3-only", reads("--http3-only", *at(CLOSED, address6), f"https://{CLOSED}/"), _REFUSED
    ),
    Attempt("A handshake that names an open site", "openssl -servername", lies_about_the_name, _JUDGED, pages=True),
    Attempt(
        *("A Host header that names an open site", "curl -H Host"),
        reads("-H", f"Host: {OPEN_SITE}", f"http://{address4(CLOSED)}/"),
        _JUDGED,
        pages=True,
    ),
    Attempt(
        *("Hedgerow's own proxy, with the address instead of the name", "curl -x"),
        reads("-x", f"http://{LAN4}.1:3128", f"https://{address4(CLOSED)}/"),
        "the proxy judges addresses too",
    ),
    Attempt(
        *("Hedgerow's own proxy, to a resolver's port", "curl -x"),
        lambda house, device: (
            "200" in device.run("curl", "-sp", "-x", f"http://{LAN4}.1:3128", "-w", "%{http_connect}", f"http://{OWN4}:853/").stdout
        ),
        "the proxy serves ports 80 and 443 only",
    ),
    Attempt("Another MAC address", "ip link set address", with_another_mac, "a device that nobody has named is filtered as a child's"),
    Attempt("Another address, set by hand", "ip address", with_another_address, "the MAC address decides"),
    Attempt("An IPv6 privacy address", "ip address", with_a_private_address, "the MAC address decides"),
    Attempt("WireGuard at its usual port", "wireguard-go", wireguard(VPN4, 51820), _REFUSED),
    Attempt("WireGuard at its usual port, IPv6", "wireguard-go", wireguard(VPN6, 51820), _REFUSED),
    Attempt("WireGuard at port 443", "wireguard-go", wireguard(VPN4, 443), _REFUSED),
    Attempt("WireGuard at port 53", "wireguard-go", wireguard(VPN4, 53), "carried to Hedgerow's resolver, where it is no question"),
    Attempt("WireGuard at port 123", "wireguard-go", wireguard(VPN4, 123), _HANDSHAKE),
    Attempt("WireGuard at a port of its own", "wireguard-go", wireguard(VPN4, 40000), _HANDSHAKE),
    Attempt("OpenVPN over UDP", "a datagram", datagram(PEER4, 1194), _REFUSED),
    Attempt("OpenVPN over TCP", "a connection", stream(PEER4, 1194), _REFUSED),
    Attempt(
        "A tunnel in questions for names", "kdig TXT", tunnels_in_names, "a name like any other, slowly; the journal shows it", True, True
    ),
    Attempt("IPsec (IKEv2)", "a datagram", datagram(PEER4, 500), f"{_REFUSED}, unless it was applied with --allow-ipsec"),
    Attempt("IPsec (ESP)", "a raw packet", raw(50), f"{_REFUSED}, unless it was applied with --allow-ipsec"),
    Attempt("PPTP (GRE)", "a raw packet", raw(47), _REFUSED),
    Attempt("A SOCKS proxy", "a connection", stream(PEER4, 1080), _REFUSED),
    Attempt("A SOCKS proxy, IPv6", "a connection", stream(PEER6, 1080), _REFUSED),
    Attempt("A Tor relay", "a connection", stream(PEER4, 9001), _REFUSED),
    Attempt("A tunnel through SSH", "a connection", stream(PEER4, 22), _UNLISTED, normally=True),
    Attempt("SSH at port 443", "a connection", stream(PEER4, 443), "carried to the proxy, where it is no handshake", pages=True),
    Attempt("A web proxy at port 8080", "a connection", stream(PEER4, 8080), _UNLISTED, normally=True),
    Attempt("DNS over TLS at port 5222", "a connection", stream(PEER4, 5222), _UNLISTED, normally=True),
)

ALLOWED: tuple[Attempt, ...] = (
    Attempt("An open site", "curl", reads(f"http://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt("An open site, HTTPS", "curl", reads(f"https://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt("An open site, IPv6", "curl -6", reads("-6", f"https://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt("A helpline", "curl", reads("https://www.childline.org.uk/", page="www.childline.org.uk"), ""),
    Attempt("The time (NTP)", "a datagram", datagram(PEER4, 123, 48), ""),
    Attempt("The time (NTP), IPv6", "a datagram", datagram(PEER6, 123, 48), ""),
)
"""What must go on working for every device."""

assert CLOSED in SITES
