"""The name that a device gives itself by multicast DNS, asked of the device alone (RFC 6762 §5.5): most phones, printers and computers.

One question, one datagram in answer; who does not know the protocol says nothing.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

PORT, PATIENCE_S = 5353, 0.5
_PTR, _IN = 12, 1
_MOST_LABELS = 128  # a name has no more (RFC 1035 §2.3.4), and pointers that go round in circles end


def ask_name(address: str) -> str:
    """The device's name without `.local`, empty where it says none. Waits half a second at most."""
    host = ip_address(address)
    question = struct.pack("!6H", secrets.randbelow(1 << 16), 0, 1, 0, 0, 0) + _wire(host.reverse_pointer) + struct.pack("!2H", _PTR, _IN)
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
        names = list(_pointers(data, _read_name(question, 12)[0]))
    except (IndexError, struct.error, UnicodeDecodeError):
        return ""
    return next((name.removesuffix(".local") for name in names if name.endswith(".local")), "")


def _pointers(data: bytes, asked: str) -> Iterator[str]:
    """What the PTR records about `asked` say (RFC 1035 §4.1). Raises IndexError, struct.error,
    UnicodeDecodeError for what is no message.
    """
    questions, answers = struct.unpack_from("!2H", data, 4)
    at = 12
    for _ in range(questions):
        at = _read_name(data, at)[1] + 4
    for _ in range(answers):
        name, at = _read_name(data, at)
        kind, _class, _ttl, length = struct.unpack_from("!2HIH", data, at)
        if kind == _PTR and name == asked:
            yield _read_name(data, at + 10)[0]
        at += 10 + length


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name that begins at `at`, in small letters, and where what follows it begins."""
    labels: list[str] = []
    end = 0
    for _ in range(_MOST_LABELS):
        length = data[at]
        if length >= 0xC0:  # the rest of it stands elsewhere
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length:
            labels.append(data[at + 1 : at + 1 + length].decode("utf-8").lower())
            at += 1 + length
        else:
            return ".".join(labels), end or at + 1
    raise IndexError("a name without an end")


def _wire(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".")) + b"\0"
