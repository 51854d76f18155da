"""The addresses to which Hedgerow's own requests may lead, judged before each connection.

Whoever writes a URL into the policy may name a server inside the network: a list's mirror, a home's own ntfy. Nobody
else leads a request there: neither a redirect from outside, nor a public name that turns to an address inside (DNS
rebinding), nor a browser that subscribes to notices.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from hedgerow.blocklists.address_ranges import embedded_ipv4, is_public_address
from hedgerow.blocklists.names import is_address, is_beneath, is_local_name, parse_host
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

_ASKED_OF_PROXY = re.compile(rb"(?:CONNECT |[A-Z]+ https?://)(?:[^/@ ]*@)?(?:\[([^\] ]+)\]|([^/:?# ]+))")
"""The beginning of a request that only a proxy gets, and the host in it (RFC 9112, sections 3.2.2 and 3.2.3)."""


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
    `local` are the policy's own names and networks (`NetworkSettings.own_places`): its names may have addresses inside
    as those of local networks may, and its networks are inside. Any name may have such addresses over TLS, where its
    certificate proves whose server it is.
    """

    innermost: Reach = Reach.MACHINE
    elsewhere: Reach = Reach.MACHINE
    local: Collection[str] = ()
    _host: str = field(init=False, default="")
    _is_led: bool = field(init=False, default=False)
    _known: Mapping[str, Reach] = field(init=False, default_factory=dict)

    def turn_to(self, host: str, *, is_encrypted: bool) -> None:
        """Note the host of the next connections."""
        host = host.lower().removesuffix(".")
        self.innermost = max([self.innermost, *self._known.values()])
        if self._host not in ("", host):
            self.innermost, self._known, self._is_led = max(self.innermost, self.elsewhere), {}, True
        if not (is_encrypted or is_address(host) or self._is_local(host)):
            self.innermost, self._known = Reach.INTERNET, {}
        self._host = host

    def _is_local(self, host: str) -> bool:
        # no public zone is called `test` (RFC 6761)
        return "." not in host or is_local_name(host) or is_beneath(host, frozenset({"test", *self.local}))

    def is_outside(self, host: str) -> bool:
        """Return True for a public name and for an address of the internet: a proxy may be asked for these."""
        known = parse_host(host)
        if known is None or not is_address(known):
            return known is not None and not self._is_local(known)
        return reach_of(known, self.local) is Reach.INTERNET

    def leave_to_proxy(self, host: str) -> None:
        """Note that a proxy looks up the host and connects to it. Raises RefusedError for a host inside."""
        if not self.is_outside(host):
            raise RefusedError(f"{host[:80]} is inside the network, for which no proxy is asked")
        self.turn_to(host, is_encrypted=True)
        self._known = {self._host: Reach.INTERNET}

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
        reach, place = reach_of(address, self.local), f"{self._host} ({address})" if self._host != address else address
        if not _METADATA.isdisjoint(_written_in(address)):
            raise RefusedError(f"{place} is where clouds keep the secrets of machines: nothing is fetched from there")
        if reach is Reach.MACHINE and str(port) in os.environ.get(OWN_PORTS, "").split():
            raise RefusedError(f"{place} at port {port} is Hedgerow itself, which is not asked for anything")
        if reach < self.innermost and address not in self._known:
            raise RefusedError(
                f"{place} is an address inside the network, to which a server outside led"
                if self._is_led
                else f"{place} is an address inside the network, which a public name may have with https:// only: "
                "write https:// or the address itself, or put the name under `records` or `forward`"
            )
        self._known = {**self._known, address: reach}


def _written_in(address: str) -> tuple[str, ...]:
    """Return an address, and the IPv4 addresses inside it."""
    inner = embedded_ipv4(ip_address(address.partition("%")[0]).packed)
    return address, *(str(ip_address(each)) for each in inner)


def reach_of(address: str, local: Collection[str] = ()) -> Reach:
    """Return the place of an address. Networks among `local` are inside."""
    written = _written_in(address)
    if any(map(is_own_address, written)):
        return Reach.MACHINE
    is_home = any(ip_address(each) in ip_network(network) for network in local if "/" in network for each in written)
    return Reach.INTERNET if is_public_address(address) and not is_home else Reach.NETWORK


def _place(address: str) -> tuple[str, int]:
    """Return host and port of an address; none if it is not a URL."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return "", 0


def guard_connections(guard: OutgoingGuard, address: str, *, is_encrypted: bool) -> None:
    """Judge every stream connection of this process before it is made. Nothing takes that back.

    It is for jobs whose libraries connect by themselves. The first host that is looked up is the server that the job
    names. Later ones, as after redirects, lead outward only. Sockets of this process may be connected to each other.

    The libraries ask the environment's proxies, but not for the host of `address` if that is inside. Connections to
    them may lead anywhere, and the host that they are asked for is judged.
    """
    from urllib.request import getproxies  # with ssl, which the compiler of lists never needs

    named, server = getproxies(), _place(address)[0]
    proxies = {_place(named[each]) for each in ("http", "https", "all") if each in named}
    if not guard.is_outside(server):
        os.environ["no_proxy"] = ",".join(filter(None, (named.get("no"), server)))
    own, is_for_proxy = WeakSet[socket.socket](), False

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_for_proxy
        if event == "socket.bind":
            own.add(arguments[0])
        elif event == "socket.getaddrinfo":
            host = os.fsdecode(arguments[0] or "localhost")
            is_for_proxy = (host.lower(), arguments[1]) in proxies
            if not is_for_proxy:
                guard.turn_to(host, is_encrypted=is_encrypted)
        elif event == "http.client.send":
            asked = _ASKED_OF_PROXY.match(arguments[1]) if isinstance(arguments[1], bytes) else None
            if asked is not None:
                guard.leave_to_proxy((asked[1] or asked[2]).decode("latin-1"))
        elif (
            event == "socket.connect"
            and not is_for_proxy
            and arguments[0].type == socket.SOCK_STREAM
            and all(each.fileno() < 0 or each.getsockname() != arguments[1] for each in own)
        ):
            if not isinstance(arguments[1], tuple) or not is_address(parse_host(arguments[1][0]) or ""):
                raise RefusedError(f"{arguments[1]} is not an address on a network: only such are connected to")
            guard.judge(*arguments[1][:2])

    sys.addaudithook(judge)
