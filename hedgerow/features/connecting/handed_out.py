"""The DNS servers that the router hands out by DHCP (RFC 2131, RFC 2132).

DHCPINFORM asks for settings without an address, so that nothing changes on the router. Building and parsing are pure.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from hedgerow import port_binder
from hedgerow.network.own_addresses import gateway_addresses, outgoing_addresses, own_addresses

type HandedOut = tuple[str, tuple[str, ...]]
"""A router, and the DNS servers that it hands out."""

_FIXED: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE: Final = b"\x63\x82\x53\x63"
_REQUEST, _REPLY, _ETHERNET = 1, 2, 1
_PAD, _DNS, _TYPE, _WANTED, _END = 0, 6, 53, 55, 255
_ACK, _INFORM = 5, 8
_SERVER_PORT, _CLIENT_PORT = 67, 68
_PATIENCE_S = 1.5
_MAX_ANSWERS = 8
_ASKED_EVERY_S = 60.0


def inform(address: str, transaction: int) -> bytes:
    """Return a DHCPINFORM that asks which DNS servers a machine with this address should use."""
    own, zero = IPv4Address(address).packed, bytes(4)
    fixed = _FIXED.pack(
        _REQUEST, _ETHERNET, 6, 0, transaction, 0, 0, own, zero, zero, zero, bytes(16), bytes(64), bytes(128), _COOKIE
    )
    return fixed + bytes((_TYPE, 1, _INFORM, _WANTED, 1, _DNS, _END))


def parse_dns_servers(packet: bytes, transaction: int) -> tuple[str, ...] | None:
    """Return the DNS servers in the answer to `inform`, or None for any other packet."""
    if len(packet) < _FIXED.size:
        return None
    kind, _, _, _, number, *_, cookie = _FIXED.unpack_from(packet)
    options = dict(_options(packet[_FIXED.size :]))
    if (kind, number, cookie, options.get(_TYPE)) != (_REPLY, transaction, _COOKIE, bytes((_ACK,))):
        return None
    servers = options.get(_DNS, b"")
    return tuple(str(IPv4Address(servers[at : at + 4])) for at in range(0, len(servers) - 3, 4))


def _options(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        found.append((data[at], data[at + 2 : at + 2 + length]))
        at += 2 + length
    return found


def ask_router() -> HandedOut | None:
    """Return the router, and the DNS servers that it hands out; None if it does not answer, or does not serve DHCP.

    Raises PermissionError without the right to use port 68.
    """
    router = next((each for each in sorted(gateway_addresses()) if ":" not in each), "")
    address = next((each for each in outgoing_addresses() if ":" not in each), "")
    if not router or not address:
        return None
    transaction = secrets.randbits(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(_PATIENCE_S)
        port_binder.bind(client, address, _CLIENT_PORT)
        client.sendto(inform(address, transaction), (router, _SERVER_PORT))
        try:
            for _ in range(_MAX_ANSWERS):
                servers = parse_dns_servers(client.recv(2048), transaction)
                if servers is not None:
                    return router, servers
        except OSError:
            return None
    return None


class RouterWatch:
    """The router's DNS servers other than this machine, which it is asked for at most once per minute."""

    def __init__(
        self, ask: Callable[[], HandedOut | None] = ask_router, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._next = 0.0
        self._answer: HandedOut | None = None
        self.can_ask = True
        """Whether this process could send a question when it last wanted to."""

    def others(self) -> HandedOut | None:
        """Return the router and its other DNS servers. None if there are none, or if the router can't be asked.

        Waits for the router.
        """
        if self._clock() >= self._next:
            try:
                self._answer, self.can_ask = self._ask(), True
            except OSError:  # such as without the right to use the port of DHCP clients
                self._answer, self.can_ask = None, False
            self._next = self._clock() + _ASKED_EVERY_S
        if self._answer is None:
            return None
        router, servers = self._answer
        others = tuple(server for server in servers if server not in own_addresses())
        return (router, others) if others else None


def router_watch_of(_core: object) -> RouterWatch:
    """Make the part of control that asks the router."""
    return RouterWatch()
