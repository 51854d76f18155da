"""Connections from load balancers, which begin with a header that names the client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from hedgerow.proxy.poller import Poller
from hedgerow.proxy_protocol import HEADER_SECONDS, MAX_OCTETS, LoadBalancers, ProxyHeaderReader, ProxyProtocolError


class BalancedConnection:
    """A connection whose header is being read.

    `greet` gets it then, with the client's address and what has come after the header.

    A connection without the header that it must have is closed.
    """

    def __init__(
        self,
        poller: Poller,
        balancers: LoadBalancers,
        sock: socket.SocketType,
        peer: str,
        greet: Callable[[socket.SocketType, str, bytes], None],
    ) -> None:
        self._poller = poller
        self._balancers = balancers
        self._sock = sock
        self._peer = peer
        self._greet = greet
        self._reader = ProxyHeaderReader()
        self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._reject)
        poller.watch(sock, self._read)

    def _read(self, _events: int) -> None:
        found = None
        try:
            while found is None:
                data = self._sock.recv(MAX_OCTETS)
                found = self._reader.feed(data)
                if not data:
                    raise ProxyProtocolError("the connection ended in the header")
        except BlockingIOError:
            return
        except (OSError, ProxyProtocolError):
            self._reject()
            return
        self._timer.cancel()
        self._greet(self._sock, found[0] or self._peer, found[1])

    def _reject(self) -> None:
        self._timer.cancel()
        self._balancers.on_rejected()
        self._poller.close(self._sock)
