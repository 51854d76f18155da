"""Connections to the servers of tunnels, and to the process that serves our own pages."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

from hedgerow.policies.model import Request
from hedgerow.proxy.certificate_examiner import Server
from hedgerow.proxy.own_pages import OwnPages, relay_line
from hedgerow.proxy.poller import Poller
from hedgerow.sockets import connect_first, interleave_families, offer_connection_patiently
from hedgerow.values import value_dataclass

_CONNECTED, _CONNECTING = (0, errno.EISCONN), (errno.EALREADY, errno.EINPROGRESS)


@value_dataclass(frozen=True, slots=True)
class Opened:
    """A connection to the server of a tunnel for `requests`, which is `examined` if it is of an unlisted host.

    `preface` is what we say to it before the client's bytes.
    """

    server: socket.SocketType
    requests: tuple[Request, ...]
    preface: bytes = b""
    examined: Server | None = None


class BegunConnection:
    """A connection to an IP address that has begun.

    It `is_connected` if the server is so near that it has answered already.

    Raises OSError if it has failed already.
    """

    __slots__ = ("_peer", "is_connected", "sock")

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._peer = (address, port)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # the handshake is acknowledged with the client's first bytes
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            # Asked a second time, the kernel tells what has become of the first.
            self.is_connected = self._ask() or self._ask()
        except BaseException:
            self.sock.close()
            raise

    async def wait(self, poller: Poller) -> socket.SocketType:
        """Wait until the connection is complete.

        Raises OSError if it fails; the socket is closed then, and if nobody waits any more.
        """
        connected = asyncio.get_running_loop().create_future()

        def check(_events: int) -> None:
            if connected.done():
                return
            try:
                if self._ask():
                    connected.set_result(None)
            except OSError as error:
                connected.set_exception(error)

        try:
            poller.watch(self.sock, check)
            poller.watch_writing(self.sock)
            await connected
        except BaseException:
            poller.close(self.sock)
            raise
        return self.sock

    def _ask(self) -> bool:
        """Return whether the connection is complete. Raises OSError if it has failed."""
        code = self.sock.connect_ex(self._peer)
        if code in _CONNECTED:
            return True
        if code in _CONNECTING:
            return False
        raise OSError(code, errno.errorcode.get(code, "the connection failed"))


async def dial(poller: Poller, addresses: Sequence[str], port: int) -> socket.SocketType:
    """Connect to the first IP address that answers (RFC 8305; the resolver has sorted them).

    The caller limits the time. Raises OSError with the last failure if no address answers.
    """

    async def connect(address: str) -> socket.SocketType:
        begun = BegunConnection(address, port)
        return begun.sock if begun.is_connected else await begun.wait(poller)

    if len(addresses) == 1:
        return await connect(addresses[0])

    async def discard(late: socket.SocketType) -> None:
        poller.close(late)

    return await connect_first(interleave_families(addresses), connect, discard)


async def open_pages(pages: OwnPages, address: str, client: socket.SocketType, head: bytes) -> Opened:
    """Connect to the process that serves our own pages, for a request that begins with `head` by a client at `address`.

    Raises OSError.
    """
    server = await offer_connection_patiently(pages.socket)
    return Opened(server, (), relay_line(address, str(client.getsockname()[0]).partition("%")[0], pages.port) + head)
