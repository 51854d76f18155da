"""A connection that the network sent here although its client meant somebody else (nftables `redirect` or `tproxy`).

The client knows nothing of a proxy: it speaks TLS or HTTP to the origin, and its first byte says which. What it calls the host (SNI,
Host) is judged, resolved by our own resolver and dialled; the address it was going to counts only where it names none.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from hedgerow.policies.model import Request, RequestKind, Verdict
from hedgerow.proxy.client_hello import ClientHello, ProtocolDetector, hides_server_name
from hedgerow.proxy.gate.connection import GateConnection
from hedgerow.proxy.gate.context import GateContext
from hedgerow.proxy.gate.explicit import initiator
from hedgerow.proxy.http_head import Authority, HeadError, RequestHead, RequestTarget, parse_authority

if TYPE_CHECKING:
    import asyncio

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h, and the same number in linux/netfilter_ipv6/ip6_tables.h
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, linux/in6.h


class TransparentConnection(GateConnection):
    """Its states: a first byte, then a ClientHello or a head."""

    __slots__ = ("_detector",)

    def __init__(self, gate: GateContext) -> None:
        super().__init__(gate)
        self._detector = ProtocolDetector()
        self._receive = self._read_first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._is_gone:
            return
        target = self._destination(transport.get_extra_info("socket"))
        if target is None:
            self._gate.drop("direct")
            self.abort()
        else:
            self._target = target

    def _destination(self, sock: socket.socket) -> Authority | None:
        return original_destination(sock)

    def _read_first(self, data: bytes) -> None:
        found = self._detector.feed(data)
        if found is not None:
            is_tls, first = found
            self._receive = self._read_hello if is_tls else self._read_request
            self._receive(first)

    def _read_request(self, data: bytes) -> None:
        self._first += data  # the inspector gets it as it is
        self._read_head(data)

    def _on_hello(self, hello: ClientHello) -> None:
        if hello.sni is not None:
            self._target = Authority(hello.sni, self._target.port)
        if not self._may_dial(self._target):
            self._gate.drop("destination")
            self._refuse_tls()
            return
        hides = hides_server_name(hello)
        request = self._tunnel_request(self._target.host, hides_host=hides)
        self._choose_lane((request,), shows_page=not hides)

    def _on_non_tls(self) -> None:
        self.abort()

    def _on_head(self, head: RequestHead) -> None:
        if head.method == "CONNECT" or not head.target.startswith("/"):
            raise HeadError(400, "a request to a web server names a path")
        if head.get("host"):
            self._target = parse_authority(head.get("host"), self._target.port)
        if not self._may_reach(self._target):
            return
        request = Request(
            device=self.device, kind=RequestKind.HTTP, host=self._target.host, port=self._target.port,
            url=RequestTarget("http", self._target, head.target).url, method=head.method, resource=head.get("sec-fetch-dest"),
            initiator=initiator(head),
        )  # fmt: skip
        if not self._is_refused(head, request):
            self._inspect(Verdict.ALLOW, lane="http")


class BlockPageConnection(TransparentConnection):
    """A connection to the address that our resolver gives for blocked names: its client believes that the blocked site is here.

    What it names is judged as ever. Blocked names get the page; one that has been opened since is fetched from where it really is.
    """

    __slots__ = ()

    def _destination(self, sock: socket.socket) -> Authority | None:
        local = sock.getsockname()
        return Authority(local[0].partition("%")[0], local[1])


def original_destination(sock: socket.socket) -> Authority | None:
    """Where a redirected connection was going; None for one that was meant for us, which would go round in circles."""
    local = sock.getsockname()
    own = Authority(local[0].partition("%")[0], local[1])
    with contextlib.suppress(OSError):  # without NAT nobody remembers: then TPROXY has left the destination where it was
        if sock.family == socket.AF_INET6:
            found = parse_sockaddr(sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28))
        else:
            found = parse_sockaddr(sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16))
        if found != own:
            return found
    return own if _is_foreign(sock) else None


def _is_foreign(sock: socket.socket) -> bool:
    """Whether the address at our end belongs to somebody else: TPROXY has let us speak for it."""
    with socket.socket(sock.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((sock.getsockname()[0], 0))
        except OSError:
            return True
    return False


def parse_sockaddr(data: bytes) -> Authority:
    """A `struct sockaddr_in` or `sockaddr_in6` of Linux.

    >>> parse_sockaddr(bytes([2, 0, 1, 187, 192, 0, 2, 7]) + bytes(8))
    Authority(host='192.0.2.7', port=443)
    """
    port = struct.unpack_from("!H", data, 2)[0]
    if len(data) >= 28:
        return Authority(socket.inet_ntop(socket.AF_INET6, data[8:24]), port)
    return Authority(socket.inet_ntop(socket.AF_INET, data[4:8]), port)


def enable_ip_transparent(listener: socket.socket) -> bool:
    """Let a listener take what TPROXY sends it; False without the right to (CAP_NET_ADMIN), and then only REDIRECT works."""
    level, option = (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT) if listener.family == socket.AF_INET6 else (socket.SOL_IP, _IP_TRANSPARENT)
    try:
        listener.setsockopt(level, option, 1)
    except PermissionError:
        return False
    return True
