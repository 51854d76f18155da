"""Tunnels: relay bytes between a client and a server without reading them.

Memory is bounded by the transports' buffers: while one side takes no bytes, the other is not read from. Each side may close its half alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from hedgerow.policies.model import DeviceId, Request
from hedgerow.policies.ruleset import Ruleset


class TunnelEnd(asyncio.Protocol):
    """One side of a tunnel. What its transport reads is written to the peer's transport."""

    __slots__ = ("closed", "count", "ended", "peer", "transport", "tunnel")

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.count = 0
        self.ended = False
        self.closed = False
        self.transport: asyncio.Transport
        self.peer: TunnelEnd

    @classmethod
    def towards_server(cls, tunnel: Tunnel) -> Self:
        """A new end for an attempt to reach the server; `Tunnel.join` takes the one that succeeds."""
        end = cls(tunnel)
        end.peer = tunnel.client
        return end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        """Close the other side's half; the connection itself is closed once both halves are."""
        self.ended = True
        if self.peer.ended or self.peer.transport.is_closing():
            self.peer.transport.close()
            return False
        self.peer.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.tunnel.is_joined or (self is not self.tunnel.client and self is not self.tunnel.server):
            return  # one of several attempts to reach the server, which `dial` cleans up
        if error is None and (self.ended or self.peer.ended):
            self.peer.transport.close()
        else:
            self.peer.transport.abort()
        self.tunnel.finish()
        if self.peer.closed:
            self.tunnel.unlink()


class Tunnel:
    """Two joined connections, with the facts needed to judge them again.

    `requests` has one for each host that the client named (CONNECT, SNI), all allowed under `ruleset`. `began` is in seconds by the
    gate's clock. `on_finished` is called once, when the tunnel is over.
    """

    __slots__ = (
        "_on_finished",
        "_seen",
        "address",
        "began",
        "client",
        "device",
        "idle_since",
        "is_joined",
        "requests",
        "ruleset",
        "server",
    )

    def __init__(
        self,
        on_finished: Callable[[Tunnel], None],
        address: str,
        ruleset: Ruleset,
        requests: tuple[Request, ...],
        client: asyncio.Transport,
    ) -> None:
        self._on_finished: Callable[[Tunnel], None] | None = on_finished
        self._seen = -1
        self.idle_since = 0.0
        self.began = 0.0
        self.address = address
        self.ruleset = ruleset
        self.requests = requests
        self.is_joined = False
        self.device = DeviceId("")
        self.client = TunnelEnd(self)
        self.client.transport = client
        self.server: TunnelEnd

    def join(self, server: TunnelEnd, first: bytes) -> None:
        """Take over the client's transport now that the server is connected; `first` is what was read from the client before."""
        self.server = self.client.peer = server
        self.is_joined = True
        self.client.count += len(first)
        self.client.transport.set_protocol(self.client)
        self.client.transport.resume_reading()
        server.transport.write(first)  # last, for it may stop the client

    def cut(self) -> None:
        """End both connections at once. Buffered data is dropped."""
        self.client.transport.abort()
        self.server.transport.abort()

    def finish(self) -> None:
        """Report, once, that the tunnel is over."""
        on_finished, self._on_finished = self._on_finished, None
        if on_finished is not None:
            on_finished(self)

    def unlink(self) -> None:
        """Break the reference cycles of a tunnel whose ends are closed, so that it is freed at once and not by the cycle collector."""
        for end in (self.client, self.server):
            del end.peer, end.tunnel

    def idle_for(self, now: float) -> float:
        """Seconds without a byte in either direction, as seen by calls of this method."""
        if self.bytes_moved != self._seen:
            self._seen, self.idle_since = self.bytes_moved, now
        return now - self.idle_since

    @property
    def bytes_moved(self) -> int:
        """Bytes, in both directions together."""
        return self.client.count + self.server.count

    @property
    def half_closed(self) -> bool:
        return self.client.ended or self.server.ended
