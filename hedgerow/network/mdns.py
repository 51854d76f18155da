"""The name that a device gives itself by multicast DNS, asked of the device alone (RFC 6762 §5.5): most phones, printers and computers.

One question, one datagram in answer; who does not know the protocol says nothing.
"""

from __future__ import annotations

import secrets
import socket
import struct
from ipaddress import ip_address

from dnslib import QTYPE, DNSError, DNSRecord

PORT, PATIENCE_S = 5353, 0.5


def ask_name(address: str) -> str:
    """The device's name without `.local`, empty where it says none. Waits half a second at most."""
    host = ip_address(address)
    question = (
        struct.pack("!6H", secrets.randbelow(1 << 16), 0, 1, 0, 0, 0) + _wire(host.reverse_pointer) + struct.pack("!2H", QTYPE.PTR, 1)
    )
    with socket.socket(socket.AF_INET6 if host.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        try:
            client.connect((address, PORT))
            client.send(question)
            data = client.recv(4096)
        except OSError:
            return ""
    return parse_name(data, question)


def parse_name(data: bytes, question: bytes) -> str:
    """The name in an answer to this question; empty where it is none."""
    if data[:2] != question[:2]:
        return ""
    try:
        answer = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError):
        return ""
    asked = DNSRecord.parse(question).q.qname
    names = [str(row.rdata).rstrip(".") for row in answer.rr if row.rtype == QTYPE.PTR and row.rname == asked]
    return next((name.removesuffix(".local") for name in names if name.endswith(".local")), "")


def _wire(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".")) + b"\0"
