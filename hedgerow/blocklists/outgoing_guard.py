"""The addresses to which Hedgerow's own requests may lead, judged before each connection.

Whoever writes a URL into the policy may name a server inside the network: a list's mirror, a home's own ntfy. Nobody
else leads a request there: neither a redirect from outside, nor a public name that turns to an address inside (DNS
rebinding), nor a browser that subscribes to notices.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address
from typing import Any

from hedgerow.blocklists.address_ranges import is_public_address, unwrap_ipv4
from hedgerow.blocklists.names import is_address, is_beneath, is_local_name
from hedgerow.sockets import interleave_families, is_own_address

OWN_PORTS = "HEDGEROW_PORTS"
"""The environment variable with the TCP ports of this run, which its processes and their jobs inherit."""

_METADATA = frozenset(
    {
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    }
)
"""Addresses at which the clouds give a machine's secrets to every program on it."""


class Reach(IntEnum):
    """The places of servers, from the inside out."""

    MACHINE = 0
    NETWORK = 1
    INTERNET = 2


class RefusedError(ValueError):
    """A request that is not made, or whose answer is not used. Another attempt would not help."""


class UnreachableError(OSError):
    """A request that failed in a way that may pass."""


class NoConnectionError(UnreachableError):
    """The server cannot be reached. Another attempt at once would not help."""


@dataclass(slots=True)
class OutgoingGuard:
    """The limits of one request with its redirects, which lead outward only.

    `innermost` is how far inside the next host may be: at first the one that the URL names, later no further than the
    outermost address so far, nor than `elsewhere`. A host keeps its addresses until another one is asked: it may have
    some inside and some outside.
    `local` are the policy's own names, which may have addresses inside as those of local networks may. Any name may
    over TLS, where its certificate proves whose server it is.
    """

    innermost: Reach = Reach.MACHINE
    elsewhere: Reach = Reach.MACHINE
    local: Collection[str] = ()
    _host: str = field(init=False, default="")
    _known: Mapping[str, Reach] = field(init=False, default_factory=dict)

    def turn_to(self, host: str, *, is_encrypted: bool) -> None:
        """Note the host of the next connections."""
        self.innermost = max([self.innermost, *self._known.values()])
        if self._host not in ("", host):
            self.innermost, self._known = max(self.innermost, self.elsewhere), {}
        if not may_be_inside(host, self.local, is_encrypted=is_encrypted):
            self.innermost, self._known = Reach.INTERNET, {}
        self._host = host

    def look_up(self, host: str, port: int, *, is_encrypted: bool) -> tuple[str, ...]:
        """Return the first four addresses of a host, of both families, if a connection may lead to all that it has.

        Raises RefusedError and NoConnectionError.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NoConnectionError(f"{host[:80]} can't be found: {error}") from error
        addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
        self.turn_to(host, is_encrypted=is_encrypted)
        for address in addresses:
            self.judge(address, port)
        return interleave_families(addresses)[:4]

    def judge(self, address: str, port: int) -> None:
        """Raise RefusedError if a connection to the host may not lead to this address."""
        reach, place = reach_of(address), address if self._host == address else f"{self._host} ({address})"
        if str(ip_address(unwrap_ipv4(ip_address(address.partition("%")[0]).packed))) in _METADATA:
            raise RefusedError(f"{place} is where clouds keep the secrets of machines: nothing is fetched from there")
        if reach is Reach.MACHINE and str(port) in os.environ.get(OWN_PORTS, "").split():
            raise RefusedError(f"{place} at port {port} is Hedgerow itself, which is not asked for anything")
        if reach < self.innermost and address not in self._known:
            raise RefusedError(
                f"{place} is an address inside the network: only whoever writes the policy may have it asked, by the "
                "address itself, by https://, or by a name under `records` or `forward`"
            )
        self._known = {**self._known, address: reach}


def may_be_inside(host: str, local: Collection[str], *, is_encrypted: bool) -> bool:
    """Return whether a host that a URL names may have an address inside: one of TLS, an address, or a local name.

    >>> [may_be_inside(host, ["ours.example"], is_encrypted=False) for host in ("nas.lan.", "ours.example", "b.org")]
    [True, True, False]
    """
    host = host.removesuffix(".")
    is_local = is_address(host) or "." not in host or is_local_name(host)
    return is_encrypted or is_local or is_beneath(host, frozenset(local))


def reach_of(address: str) -> Reach:
    """Return the place of an address."""
    if is_own_address(address):
        return Reach.MACHINE
    return Reach.INTERNET if is_public_address(address) else Reach.NETWORK


def guard_connections(guard: OutgoingGuard) -> None:
    """Judge every connection of this process before it is made. Nothing takes that back.

    It is for jobs whose libraries connect by themselves. The first connection leads to the server that the job names;
    later ones, as after redirects, lead outward only.
    """

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            guard.turn_to(arguments[0], is_encrypted=True)
        elif event == "socket.connect" and arguments[0].type == socket.SOCK_STREAM:
            address, port, *_ = arguments[1]
            guard.judge(address, port)

    sys.addaudithook(judge)
