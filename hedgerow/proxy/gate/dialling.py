"""Connections to the servers of tunnels, and to the process that serves our own pages."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hedgerow.policies.model import DeviceId, Request
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.gate.commands import Dial
from hedgerow.proxy.gate.poller import Poller
from hedgerow.proxy.own_pages import OwnPages, relay_line
from hedgerow.sockets import connect_first, interleave_families, offer_connection_patiently


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection to the server of a tunnel for `requests`. `preface` is what we say to it before the client's bytes."""

    server: socket.socket
    requests: tuple[Request, ...]
    preface: bytes = b""


async def dial(poller: Poller, addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first IP address that answers (RFC 8305; the resolver has sorted them).

    The caller limits the time. Raises OSError with the last failure if no address answers.
    """
    if len(addresses) == 1:
        return await _connect(poller, addresses[0], port)

    async def discard(late: socket.socket) -> None:
        poller.close(late)

    return await connect_first(interleave_families(addresses), lambda address: _connect(poller, address, port), discard)


def examine(examiner: CertificateExaminer | None, device: DeviceId, command: Dial) -> asyncio.Task[CertificateFlaw] | None:
    """Look at an unlisted host's server while the tunnel is dialled. The SNI that the client sends is the last name that was judged."""
    if command.unlisted is None or examiner is None:
        return None
    look = examiner.examine(device, command.requests[-1].host, command.addresses, command.port)
    return asyncio.get_running_loop().create_task(look)


async def open_pages(pages: OwnPages, address: str, client: socket.socket, head: bytes) -> Opened:
    """Connect to the process that serves our own pages, for a request that begins with `head` by a client at `address`. Raises OSError."""
    server = await offer_connection_patiently(pages.socket)
    own = str(client.getsockname()[0]).partition("%")[0]
    return Opened(server, (), relay_line(address, own, pages.port) + head)


async def _connect(poller: Poller, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Asked a second time, the kernel tells what has become of the first: servers nearby have answered already.
        if sock.connect_ex((address, port)) and not _is_connected(sock, address, port):
            await _wait_until_connected(poller, sock, address, port)
    except BaseException:
        poller.close(sock)
        raise
    return sock


async def _wait_until_connected(poller: Poller, sock: socket.socket, address: str, port: int) -> None:
    connected = asyncio.get_running_loop().create_future()

    def check(_events: int) -> None:
        if connected.done():
            return
        try:
            if _is_connected(sock, address, port):
                connected.set_result(None)
        except OSError as error:
            connected.set_exception(error)

    poller.watch(sock, check)
    poller.watch_writing(sock)
    await connected


def _is_connected(sock: socket.socket, address: str, port: int) -> bool:
    """Return whether a connection that has begun is complete. Raises OSError if it has failed."""
    code = sock.connect_ex((address, port))
    if code in (0, errno.EISCONN):
        return True
    if code in (errno.EALREADY, errno.EINPROGRESS):
        return False
    raise OSError(code, errno.errorcode.get(code, "the connection failed"))
