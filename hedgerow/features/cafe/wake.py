"""Wake-on-LAN: the packet for which the network card of a computer that is off waits."""

from __future__ import annotations

import socket
from collections.abc import Iterable

EVERYBODY, PORT = "255.255.255.255", 9
"""Where the packet goes on each network. The port is that of *discard*: nobody listens, the card itself looks."""


def magic_packet(mac: str) -> bytes:
    """Return the packet that wakes a network card.

    >>> magic_packet("02:00:5e:00:53:11")[:12].hex()
    'ffffffffffff02005e005311'
    """
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def send_magic_packets(macs: Iterable[str], addresses: Iterable[str]) -> None:
    """Send the packets from each of this machine's own IPv4 addresses, and so to the network of each.

    Raises OSError if it can be sent from none.
    """
    packets, problem, sent = [magic_packet(mac) for mac in macs], OSError("this machine has no address there"), 0
    for address in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            try:
                out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                out.bind((address, 0))  # Linux broadcasts on the network of the address that a socket is bound to
                sent += sum(out.sendto(packet, (EVERYBODY, PORT)) > 0 for packet in packets)
            except OSError as error:
                problem = error
    if not sent:
        raise problem
