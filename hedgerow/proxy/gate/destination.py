"""The address to which the client of a redirected connection connected, as the kernel tells it."""

from __future__ import annotations

import contextlib
import socket
import struct

from hedgerow import port_binder
from hedgerow.proxy.http_head import Authority
from hedgerow.sockets import is_own_address

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h, and the same number in linux/netfilter_ipv6/ip6_tables.h
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, linux/in6.h


def own_address(sock: socket.SocketType) -> Authority:
    """Our end of a connection.

    On the block page's address it is the client's destination: blocked names resolve to it.
    """
    host, port = sock.getsockname()[:2]
    return Authority(host.partition("%")[0], port)


def original_destination(sock: socket.SocketType) -> Authority | None:
    """The address to which a redirected client connected; None for a client that connected to us, since serving it
    would loop.
    """
    own = own_address(sock)
    with contextlib.suppress(OSError):  # without NAT there is no record: TPROXY leaves the destination as it was
        if sock.family == socket.AF_INET6:
            destination = parse_sockaddr(sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28))
        else:
            destination = parse_sockaddr(sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16))
        if destination != own:
            return destination
    return None if is_own_address(sock.getsockname()[0]) else own  # TPROXY lets us answer from addresses of others


def parse_sockaddr(data: bytes) -> Authority:
    """Parse Linux's `struct sockaddr_in` or `sockaddr_in6`.

    >>> parse_sockaddr(bytes([2, 0, 1, 187, 192, 0, 2, 7]) + bytes(8))
    Authority(host='192.0.2.7', port=443)
    """
    port = struct.unpack_from("!H", data, 2)[0]
    if len(data) >= 28:
        return Authority(socket.inet_ntop(socket.AF_INET6, data[8:24]), port)
    return Authority(socket.inet_ntop(socket.AF_INET, data[4:8]), port)


def enable_ip_transparent(listener: socket.socket) -> bool:
    """Let a listener accept what TPROXY sends it. False without CAP_NET_ADMIN; then only REDIRECT works."""
    level, option = (
        (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
        if listener.family == socket.AF_INET6
        else (socket.SOL_IP, _IP_TRANSPARENT)
    )
    try:
        port_binder.set_option(listener, level, option, 1)
    except PermissionError:
        return False
    return True
