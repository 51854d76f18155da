"""A switch that adds its port to DHCP requests (option 82, RFC 3046).

Run inside the switch's namespace: `python -m lab.switch UPLINK`. The bridge drops DHCP requests from its ports (the
table `snooping`), and this program sends them to the uplink, with the port's name as the circuit id. The bridge does
everything else.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

from lab.spaces import Space, connect

BRIDGE, UPLINK = "bridge", "uplink"
SERVER_PORT = 67
RELAY_AGENT, CIRCUIT_ID, END, PAD = 82, 1, 255, 0
_ETHERNET, _UDP, _BOOTP, _COOKIE = 14, 8, 236, 4
_IPV4, _EVERY_KIND = 0x0800, 0x0003  # as linux/if_ether.h has them


def switch(space: Space, server: Space, server_port: str) -> None:
    """Make `space` such a switch, with a cable from its uplink to `server`'s `server_port`. Returns once it listens."""
    space.ip("link", "add", BRIDGE, "type", "bridge")
    space.ip("link", "set", BRIDGE, "up")
    connect(server, server_port, space, UPLINK)
    space.ip("link", "set", UPLINK, "master", BRIDGE)
    chain = f'type filter hook prerouting priority 0; iifname "port*" ether type ip udp dport {SERVER_PORT} drop'
    done = space.run("nft", "-f", "-", text=f"table bridge snooping {{\nchain in {{\n{chain}\n}}\n}}\n")
    assert done.returncode == 0, done.stderr
    process = space.start(
        "env", f"PYTHONPATH={Path(__file__).parents[1]}", sys.executable, "-P", "-m", "lab.switch", UPLINK
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"


def plug_in(space: Space, port: int, device: Space, mac: str) -> None:
    connect(space, f"port{port}", device, "eth0", mac)
    space.ip("link", "set", f"port{port}", "master", BRIDGE)


def pull_out(space: Space, port: int) -> None:
    space.ip("link", "delete", f"port{port}")


def with_circuit(frame: bytes, circuit: bytes) -> bytes | None:
    """Return an IPv4 DHCP request with its port added, or None for any other frame."""
    header = (frame[_ETHERNET] & 15) * 4
    start = _ETHERNET + header + _UDP
    is_udp = frame[_ETHERNET - 2 : _ETHERNET] == _IPV4.to_bytes(2) and frame[_ETHERNET + 9] == socket.IPPROTO_UDP
    if not is_udp or frame[start - 6 : start - 4] != SERVER_PORT.to_bytes(2):
        return None
    length = int.from_bytes(frame[start - 4 : start - 2]) - _UDP
    message = frame[start : start + length]
    options = message[_BOOTP + _COOKIE :].rstrip(bytes([PAD])).removesuffix(bytes([END]))
    options += bytes([RELAY_AGENT, len(circuit) + 2, CIRCUIT_ID, len(circuit)]) + circuit + bytes([END])
    message = message[: _BOOTP + _COOKIE] + options
    udp = frame[start - 8 : start - 4] + struct.pack("!HH", len(message) + _UDP, 0)  # no checksum, which IPv4 allows
    ip = bytearray(frame[_ETHERNET : _ETHERNET + header])
    ip[2:4] = (header + len(udp) + len(message)).to_bytes(2)
    ip[10:12] = bytes(2)
    ip[10:12] = _checksum(bytes(ip)).to_bytes(2)
    return frame[:_ETHERNET] + bytes(ip) + udp + message


def _checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main(uplink: str) -> None:
    # before the bridge takes them
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_KIND))
    print("ready", flush=True)
    while True:
        frame, (name, _protocol, kind, *_) = listening.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING or not name.startswith("port"):
            continue
        reported = with_circuit(frame, name.encode())
        if reported is not None:
            listening.sendto(reported, (uplink, _IPV4))


if __name__ == "__main__":
    main(sys.argv[1])
