"""Aims of bypasses in TLS handshakes and inside TLS: encrypted names, and the relays of calls."""

from __future__ import annotations

from lab.aims import Aim
from lab.house import House
from lab.internet import RELAY, RELAY4
from lab.spaces import PYTHON, Space

ENCRYPTED = """
import os, socket, ssl, struct, sys
address, name = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2  # so that the server's certificate can be read
coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
try: context.wrap_bio(coming, going, server_hostname=name).do_handshake()
except ssl.SSLWantReadError: pass
body = going.read()[9:]
at = 35 + body[34]
at += 2 + int.from_bytes(body[at:at + 2])
at += 1 + body[at]
hidden = b"\\0" + struct.pack("!HHBH", 1, 1, 7, 32) + os.urandom(32) + struct.pack("!H", 144) + os.urandom(144)
extensions = body[at + 2:] + struct.pack("!HH", 0xFE0D, len(hidden)) + hidden
body = body[:at] + struct.pack("!H", len(extensions)) + extensions
message = b"\\1" + len(body).to_bytes(3) + body
peer = socket.create_connection((address, 443), 3)
peer.settimeout(3)
peer.sendall(b"\\x16\\3\\1" + struct.pack("!H", len(message)) + message)
got = b""
while b"Laboratory root" not in got:
    more = peer.recv(65536)
    if not more: sys.exit(1)
    got += more
"""

RELAYED = """
import os, socket, ssl, struct, sys
address, name = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
peer = context.wrap_socket(socket.create_connection((address, 443), 3), server_hostname=name)
peer.settimeout(3)
for message in (struct.pack("!HHI", 3, 0, 0x2112A442) + os.urandom(12), b"media" * 30):
    peer.sendall(message)
    got = b""
    while len(got) < len(message):
        more = peer.recv(2000)
        if not more: sys.exit(1)
        got += more
    assert got == message
"""


def hides_the_name(address: str, shown: str) -> Aim:
    """True if a ClientHello with an encrypted one inside (RFC 9849 §5) reaches the server of the name that it shows."""
    return lambda _house, device: device.run(*PYTHON, ENCRYPTED, address, shown).returncode == 0


def relays_a_call(*, refusals: int = 0) -> Aim:
    """True if a request to a TURN server behind TLS (RFC 8656 §3.1) and then media come back, as with a browser's
    WebRTC, after so many `refusals` of the network's certificate.
    """

    def aim(_house: House, device: Space) -> bool:
        for _ in range(refusals):
            device.run("curl", "-s", "--max-time", "3", f"https://{RELAY}/")
        return device.run(*PYTHON, RELAYED, RELAY4, RELAY).returncode == 0

    return aim
