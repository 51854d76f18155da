"""Aims of bypasses. Each returns True if a real tool on a device reaches it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.house import LAN4, LAN6, MACS, NUMBERS, House, give_address
from lab.internet import FRONT, OWN4, PEER4, UNNAMED6, address4
from lab.spaces import PYTHON, Space
from lab.tunnels import WEB_PROXY_PORT

type Aim = Callable[[House, Space], bool]

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
CALL = """
import os, socket, struct, sys
peer = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(1)
peer.connect((sys.argv[1], int(sys.argv[2])))
for message in (struct.pack("!HHI", 1, 0, 0x2112A442) + os.urandom(12), b"media" * 30):
    peer.send(message)
    assert peer.recv(2000) == message
"""
STREAM = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
peer.settimeout(2)
peer.sendall(b"SSH-2.0-tunnel\\r\\n")
sys.exit(not peer.recv(100).startswith(b"SSH-2.0-tunnel"))
"""
OPTIONS = """
import socket, sys
peer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
peer.settimeout(1)
peer.setsockopt(socket.IPPROTO_IPV6, 59, bytes([0, 0, 1, 4, 0, 0, 0, 0]))  # IPV6_DSTOPTS, one PadN (RFC 8200)
peer.connect((sys.argv[1], int(sys.argv[2])))
peer.send(bytes(100))
sys.exit(len(peer.recv(65536)) != 100)
"""
FLOOD = """
import contextlib, socket, sys, time
address, port, data, count = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4])
peer, octets = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM), 0
peer.settimeout(1)
peer.connect((address, port))
end = time.monotonic() + 1  # what passes per second is limited
for _ in range(count):
    if time.monotonic() > end: break
    with contextlib.suppress(OSError):  # refused
        peer.send(data)
    time.sleep(0.001)
with contextlib.suppress(OSError):
    while data := peer.recv(65536):
        octets += len(data)
print(octets)
"""
SAYS = """
import socket, sys
data = bytes.fromhex(sys.argv[3])
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
peer.settimeout(2)
peer.sendall(data)
sys.exit(peer.recv(len(data)) != data)
"""
FRAGMENTS = """
import socket, struct, sys
option = struct.pack("!HH", 65001, 2500) + bytes(2500)
question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 1) + b"\\5adult\\7example\\0" + struct.pack("!2H", 1, 1)
peer = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(2)
peer.sendto(question + b"\\0" + struct.pack("!HHIH", 41, 1232, 0, len(option)) + option, (sys.argv[1], 53))
sys.exit(socket.inet_aton(sys.argv[2]) not in peer.recv(65536))
"""
NOISE = """
import os, socket, sys
peer, noise = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2), b"\\xe7" + os.urandom(400)
peer.settimeout(2)
peer.sendall(noise)
got = b""
while len(got) < len(noise):
    more = peer.recv(1000)
    if not more: break
    got += more
sys.exit(got != noise)
"""
SECOND_REQUEST = """
import socket, sys
address, first, second = sys.argv[1:]
peer = socket.create_connection((address, 80), 2)
peer.settimeout(2)
ask = "GET / HTTP/1.1\\r\\nHost: {}\\r\\nConnection: {}\\r\\n\\r\\n"
peer.sendall((ask.format(first, "keep-alive") + ask.format(second, "close")).encode())
while more := peer.recv(65536): sys.stdout.write(more.decode())
"""
PIECES = """
import socket, ssl, sys, time
address, name, how = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(coming, going, server_hostname=name)
peer = socket.create_connection((address, 443), 2)
peer.settimeout(3)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def go_on(step):
    while True:
        try: return step()
        except ssl.SSLWantReadError:
            peer.sendall(going.read())
            more = peer.recv(65536)
            coming.write(more) if more else coming.write_eof()
try: tls.do_handshake()
except ssl.SSLWantReadError: pass
hello = going.read()
body = hello[5:]
if how == "records":
    parts = [body[at:at + 16] for at in range(0, len(body), 16)]
    peer.sendall(b"".join(hello[:3] + len(part).to_bytes(2) + part for part in parts))
else:
    for at in range(len(hello)):
        peer.sendall(hello[at:at + 1])
        if at < 100: time.sleep(0.002)
go_on(tls.do_handshake)
tls.write(f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode())
print(go_on(lambda: tls.read(65536)).decode())
"""
RAW = """
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[2]))
peer.settimeout(1)
peer.connect((sys.argv[1], 0))
peer.send(b"a packet inside a packet")
sys.exit(b"a packet inside" not in peer.recv(65536))
"""


ANSWER = """
import socket
server = socket.create_server(("::", 5000), family=socket.AF_INET6)
print("ready", flush=True)
client, _ = server.accept()
client.sendall(client.recv(100).upper())
"""
CALL_IN = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 5000), 3, (sys.argv[2], 0))
peer.settimeout(3)
peer.sendall(b"hello")
print(peer.recv(100))
"""
ICMP_TUNNEL = Path(__file__).with_name("icmp.py")


def reached(aim: Aim, house: House, device: Space, *, hoped: bool) -> bool:
    """Return True if an aim is reached.

    An expected (`hoped`) success is retried for a minute, since a busy machine is not a filter.
    """
    deadline = time.monotonic() + 60
    while not aim(house, device):
        if not hoped or time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def asks(server: str, *options: str, name: str = CLOSED) -> Aim:
    """True if `server` itself resolves a blocked site."""

    def aim(_house: House, device: Space) -> bool:
        words = ("kdig", "+short", "+time=1", "+retry=0", f"@{server}", *options, name)
        return address4(CLOSED) in device.run(*words).stdout

    return aim


def reads(*words: str, page: str = CLOSED) -> Aim:
    """True if curl reads the page."""

    def aim(_house: House, device: Space) -> bool:
        return f"page of {page}" in device.run("curl", "-sk", "--max-time", "3", *words).stdout

    return aim


def fronts_after_refusals(_house: House, device: Space) -> bool:
    """Use a host, refuse the network's certificate for it, as a pinned app does, then ask for a blocked site inside
    TLS.
    """
    device.run("curl", "-sk", "--max-time", "3", f"https://{FRONT}/")
    for _ in range(4):
        device.run("curl", "-s", "--max-time", "3", f"https://{FRONT}/")
    return reads("-k", "--http1.1", "-H", f"Host: {CLOSED}", f"https://{FRONT}/")(_house, device)


def wireguard(address: str, port: int) -> Aim:
    """True if a tunnel is established."""
    return lambda house, device: house.vpn.carries(device, address, port)


def datagram(address: str, port: int, size: int = 148) -> Aim:
    """True if a datagram of `size` bytes comes back."""
    return lambda _house, device: device.run(*PYTHON, DATAGRAM, address, str(port), str(size)).returncode == 0


def calls(address: str, port: int) -> Aim:
    """True if a STUN request (RFC 8489 §5) and then media come back, as from the relay of a call."""
    return lambda _house, device: device.run(*PYTHON, CALL, address, str(port)).returncode == 0


def floods(address: str, port: int, data: bytes, *, count: int = 400, enough: int = 10_000) -> Aim:
    """True if `enough` bytes come back within a second or two, which is worth a tunnel."""

    def aim(_house: House, device: Space) -> bool:
        octets = device.run(*PYTHON, FLOOD, address, str(port), data.hex(), str(count), seconds=20).stdout.strip()
        return int(octets or 0) >= enough

    return aim


def floods_pings(address: str) -> Aim:
    """True if most of a thousand small echo requests within a few seconds are answered."""

    def aim(_house: House, device: Space) -> bool:
        output = device.run("ping", "-f", "-q", "-c", "1000", "-s", "56", "-w", "5", address, seconds=20).stdout
        found = re.search(r"(\d+) received", output)
        return found is not None and int(found[1]) > 500

    return aim


def says(address: str, port: int, data: bytes) -> Aim:
    """True if a server gets these first bytes of a connection, and answers."""
    return lambda _house, device: device.run(*PYTHON, SAYS, address, str(port), data.hex()).returncode == 0


def stream(address: str, port: int) -> Aim:
    return lambda _house, device: device.run(*PYTHON, STREAM, address, str(port)).returncode == 0


def raw(number: int) -> Aim:
    return lambda _house, device: device.run(*PYTHON, RAW, PEER4, str(number)).returncode == 0


def noise(address: str, port: int) -> Aim:
    """True if a stream of random bytes comes back, as obfs4 and Shadowsocks send."""
    return lambda _house, device: device.run(*PYTHON, NOISE, address, str(port)).returncode == 0


def second_request(_house: House, device: Space) -> bool:
    """True if a blocked page is served to the second request of a connection for an allowed site."""
    words = (address4(CLOSED), OPEN_SITE, CLOSED)
    return f"page of {CLOSED}" in device.run(*PYTHON, SECOND_REQUEST, *words).stdout


def in_pieces(how: str) -> Aim:
    """True if a blocked page is read after a handshake sent byte by byte, or in many TLS `records` (RFC 8446 §5.1)."""
    return lambda _house, device: (
        f"page of {CLOSED}" in device.run(*PYTHON, PIECES, address4(CLOSED), CLOSED, how).stdout
    )


def with_the_parents_mac(house: House, device: Space) -> bool:
    """Use the MAC address of the parent's device, while that is offline."""
    try:
        set_mac(device, MACS["parent"], _own_number(device))
        return asks("8.8.8.8")(house, device)
    finally:
        set_mac(device, MACS["tablet"], _own_number(device))
        # so that the switch learns its port again
        house.devices["parent"].run("ping", "-c", "1", "-W", "1", f"{LAN4}.1")


def tunnels_in_names(_house: House, device: Space) -> bool:
    """True if data from a private nameserver reaches the device."""
    return "hello" in device.run("kdig", "+short", "+time=2", f"@{LAN4}.1", "data.tunnel.example", "TXT").stdout


def lies_about_the_name(_house: House, device: Space) -> bool:
    """Send a handshake with an allowed name to a blocked site's address, then a request for the blocked site."""
    words = ("openssl", "s_client", "-quiet", "-connect", f"{address4(CLOSED)}:443", "-servername", OPEN_SITE)
    request = f"GET / HTTP/1.1\r\nHost: {CLOSED}\r\nConnection: close\r\n\r\n"
    return f"page of {CLOSED}" in device.run(*words, text=request, seconds=3).stdout


def with_another_mac(_house: House, device: Space) -> bool:
    own = MACS["tablet"]
    try:
        set_mac(device, OTHER_MAC, 10)
        return asks("8.8.8.8")(_house, device) or asks(f"{LAN4}.1")(_house, device)
    finally:
        set_mac(device, own, 10)


def with_another_address(house: House, device: Space) -> bool:
    """Use another address by hand."""
    try:
        give_address(device, 77)
        return (
            asks("8.8.8.8")(house, device)
            or asks("2001:4860:4860::8888")(house, device)
            or asks(f"{LAN4}.1")(house, device)
        )
    finally:
        give_address(device, _own_number(device))


def _own_number(device: Space) -> int:
    return next(number for name, number in NUMBERS.items() if device.name.endswith(f"-{name}"))


def with_a_private_address(house: House, device: Space) -> bool:
    """Use a temporary IPv6 address (RFC 8981) as the source."""
    fresh = f"{LAN6}:dead:beef:1:2"
    device.ip("address", "add", f"{fresh}/64", "dev", "eth0", "nodad")
    try:
        return asks("2001:4860:4860::8888", "-b", fresh)(house, device) or asks(f"{LAN6}:1", "-b", fresh)(house, device)
    finally:
        device.ip("address", "delete", f"{fresh}/64", "dev", "eth0")


def set_mac(device: Space, mac: str, number: int) -> None:
    """Give the device another MAC address. `number` is that of its IP addresses, which the link loses."""
    device.ip("link", "set", "eth0", "down")
    device.ip("link", "set", "eth0", "address", mac)
    device.set_up("eth0")
    give_address(device, number)


def at(host: str, place: Callable[[str], str] = address4) -> tuple[str, ...]:
    """Return curl's options for an edited hosts file."""
    where = place(host)
    shown = f"[{where}]" if ":" in where else where
    return ("--resolve", f"{host}:80:{shown}", "--resolve", f"{host}:443:{shown}")


def wears_the_parents_address(house: House, device: Space) -> bool:
    """Use the IP address of the parent's device, which is online, with the device's own MAC address."""
    try:
        give_address(device, NUMBERS["parent"])
        return any(asks(server)(house, device) for server in ("8.8.8.8", "2001:4860:4860::8888", f"{LAN4}.1"))
    finally:
        give_address(device, _own_number(device))


def datagram_with_options(address: str, port: int) -> Aim:
    """Like `datagram` over IPv6, with destination options before the UDP header, against filters with fixed offsets."""
    return lambda _house, device: device.run(*PYTHON, OPTIONS, address, str(port)).returncode == 0


def asks_in_fragments(server: str) -> Aim:
    """True if `server` itself answers a query in three fragments (padded by an EDNS option, RFC 6891)."""
    return lambda _house, device: device.run(*PYTHON, FRAGMENTS, server, address4(CLOSED)).returncode == 0


def pings(address: str, octets: int) -> Aim:
    """True if an echo request's payload comes back, which is enough for a tunnel."""
    return lambda _house, device: device.run("ping", "-c", "1", "-W", "2", "-s", str(octets), address).returncode == 0


def tunnels_in_icmp(kind: str, enough: int) -> Aim:
    """True if a tunnel in 400 ICMP messages brings back more than a trickle. `kind` is that of `lab/icmp.py`."""

    def aim(_house: House, device: Space) -> bool:
        octets = device.run(
            sys.executable, "-P", str(ICMP_TUNNEL), "ask", kind, PEER4, "400", seconds=20
        ).stdout.strip()
        return int(octets or 0) >= enough

    return aim


def is_called_from_outside(house: House, device: Space) -> bool:
    """True if a server without a name can open a connection to the device, and is answered.

    Most routers prevent it, but not all.
    """
    address = (
        device.must("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global")
        .split("inet6 ")[1]
        .partition("/")[0]
    )
    listening = device.start(*PYTHON, ANSWER)
    try:
        assert listening.stdout
        listening.stdout.readline()
        return "HELLO" in house.net.space.run(*PYTHON, CALL_IN, address, UNNAMED6).stdout
    finally:
        listening.kill()
        listening.wait()


def through_socks(host: str, *, port: int = 1080) -> Aim:
    """True if a blocked page is read through a SOCKS server, which resolves the name."""
    server = f"[{host}]" if ":" in host else host
    return reads("--socks5-hostname", f"{server}:{port}", f"http://{CLOSED}/")


def through_web_proxy(host: str, url: str, port: int = WEB_PROXY_PORT) -> Aim:
    """True if a blocked page is read through a web proxy, by a whole URL or by CONNECT."""
    server = f"[{host}]" if ":" in host else host
    return reads("-x", f"http://{server}:{port}", url)


def through_ssh(address: str, port: int) -> Aim:
    """True if a blocked page is read through an SSH server (`ssh -W`, as with `ssh -D`)."""

    def aim(house: House, device: Space) -> bool:
        words = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(house.net.tunnels.ssh_key),
            "-p",
            str(port),
            "-W",
            f"{address4(CLOSED)}:80",
        ]
        words += (
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=3",
            f"root@{address}",
        )
        return (
            f"page of {CLOSED}"
            in device.run(*words, text=f"GET / HTTP/1.0\r\nHost: {CLOSED}\r\n\r\n", seconds=6).stdout
        )

    return aim


def openvpn(address: str, port: int, protocol: str = "udp") -> Aim:
    """True if an OpenVPN session is established, with the options of that port's server."""

    def aim(house: House, device: Space) -> bool:
        words = [
            "openvpn",
            "--dev",
            "null",
            "--ifconfig-noexec",
            "--tls-client",
            "--proto",
            protocol,
            "--remote",
            address,
            str(port),
        ]
        words += [
            "--nobind",
            "--verb",
            "3",
            "--connect-timeout",
            "4",
            "--hand-window",
            "8",
            *house.net.tunnels.openvpn_client(port),
        ]
        return "Peer Connection Initiated" in device.run(*words, seconds=6).stdout

    return aim


def tunnels_by_iodine(house: House, device: Space) -> bool:
    """True if an IP tunnel over DNS is established through the router's resolver."""
    interface = f"dns{device.name.split('-')[2]}"
    words = ("iodine", "-f", "-r", "-I", "1", "-P", "secret", "-d", interface, f"{LAN4}.1", "t.tunnel.example")
    process = device.start(*words, stderr=house.folder / "iodine.log")
    try:
        once = f"ping -I {interface} -c 1 -W 1 10.98.0.1"
        return (
            device.run(
                "sh", "-c", f"for _ in $(seq 40); do {once} && exit 0; sleep 0.5; done; exit 1", seconds=40
            ).returncode
            == 0
        )
    finally:
        process.terminate()
        process.wait(60)


def browser_with_secure_dns(house: House, device: Space) -> bool:
    """Open a blocked site in Chromium with secure DNS set to an unlisted resolver, without fallback."""
    folder = house.folder / f"chromium-{device.name}"
    folder.mkdir(exist_ok=True)
    settings = {"dns_over_https": {"mode": "secure", "templates": f"https://{OWN4}/dns-query"}}
    (folder / "Local State").write_text(json.dumps(settings))
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--ignore-certificate-errors"]
    words += [f"--user-data-dir={folder}", "--timeout=8000"]
    return f"page of {CLOSED}" in device.run(*words, "--dump-dom", f"https://{CLOSED}/", seconds=25).stdout
