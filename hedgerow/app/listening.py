"""Opening of all listening sockets of a run, before anything starts.

The supervisor holds them, and each process inherits those of its slot. What arrives between the end of a process and the start of its
successor therefore waits in the kernel: datagrams in a receive buffer, connections in a backlog.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

from hedgerow import port_binder
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS
from hedgerow.proxy.gate.destination import enable_ip_transparent
from hedgerow.sockets import new_socket, open_socket, open_udp_socket
from hedgerow.unix_sockets import bind_datagrams

log = logging.getLogger("hedgerow.supervisor")

_BACKLOG = 1024


def open_listeners(settings: Settings) -> dict[str, list[socket.socket]]:
    """Open the sockets of each slot, such as `dns-0`. Raises OSError, and then leaves none open.

    Each worker has sockets of its own, among which the kernel spreads the clients of a port (SO_REUSEPORT). They stay in this group for
    the whole run, so that no process ends with queries in its socket.
    """
    with contextlib.ExitStack() as opened:

        def keep(sockets: Iterator[socket.socket]) -> list[socket.socket]:
            return [opened.enter_context(each) for each in sockets]

        slots = {"control-0": keep(_listen(endpoint, reuse_port=False) for endpoint in settings.web.every_family())}
        for index in range(settings.workers):
            slots[f"dns-{index}"] = keep(_dns_sockets(settings))
            slots[f"gate-{index}"] = keep(_gate_sockets(settings))
        for index in range(settings.inspectors):
            slots[f"inspector-{index}"] = keep(iter([bind_datagrams(settings.inspector_socket(index))]))
        opened.pop_all()
    return slots


def _dns_sockets(settings: Settings) -> Iterator[socket.socket]:
    for endpoint in settings.dns.every_family():
        yield open_udp_socket(endpoint.host, endpoint.port)
        yield _listen(endpoint)
    for name, place in settings.encrypted.items():
        for endpoint in place.every_family():
            if ENCRYPTED_TRANSPORTS[name].socket_kind is socket.SOCK_STREAM:
                yield _listen(endpoint)
            else:
                yield open_socket(endpoint.host, endpoint.port, socket.SOCK_DGRAM)


def _gate_sockets(settings: Settings) -> Iterator[socket.socket]:
    for endpoint in (*settings.proxy.every_family(), *settings.page):
        yield _listen(endpoint)
    for endpoint in settings.transparent.every_family() if settings.transparent else ():
        yield _listen(endpoint, transparent=True)


def _listen(endpoint: Endpoint, *, reuse_port: bool = True, transparent: bool = False) -> socket.socket:
    sock = new_socket(endpoint.host, socket.SOCK_STREAM, reuse_port=reuse_port)
    try:
        if transparent and not enable_ip_transparent(sock):
            log.warning("the transparent port accepts REDIRECT only: TPROXY needs the capability CAP_NET_ADMIN")
        port_binder.bind(sock, endpoint.host, endpoint.port)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
