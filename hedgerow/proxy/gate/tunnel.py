"""Relay bytes between a client and a server that were joined, without reading them.

Memory is bounded by the transports' buffers: a side whose peer does not take the bytes is not read from. Each side may close its
half alone. Every running tunnel is known to `TunnelRegistry`, which can cut those that are no longer allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from hedgerow.policies.model import DeviceId, Request
from hedgerow.policies.ruleset import Ruleset


class TunnelEnd(asyncio.Protocol):
    """One side of a tunnel: what its transport reads is written to the peer's transport."""

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
        """A new end for an attempt to reach the server; `Tunnel.join` takes the one that got there."""
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
            return  # one of several attempts to reach the server; whoever dials sees to it
        if error is None and (self.ended or self.peer.ended):
            self.peer.transport.close()
        else:
            self.peer.transport.abort()
        self.tunnel.finish()
        if self.peer.closed:
            self.tunnel.unlink()


class TunnelOwner(Protocol):
    """Whoever wants to know when a tunnel is over."""

    def tunnel_finished(self, tunnel: Tunnel) -> None: ...


class Tunnel:
    """Two joined connections, with what is needed to judge them again.

    `requests` are the stories the connection told (CONNECT host, SNI), judged under `ruleset`.
    """

    __slots__ = (
        "_owner",
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
        self, owner: TunnelOwner, address: str, ruleset: Ruleset, requests: tuple[Request, ...], client: asyncio.Transport
    ) -> None:  # fmt: skip
        self._owner: TunnelOwner | None = owner
        self._seen = -1
        self.idle_since = 0.0
        self.began = 0.0  # by the gate's clock
        self.address = address
        self.ruleset = ruleset
        self.requests = requests
        self.is_joined = False
        self.device = DeviceId("")
        self.client = TunnelEnd(self)
        self.client.transport = client
        self.server: TunnelEnd

    def join(self, server: TunnelEnd, first: bytes) -> None:
        """Take over the client's transport now that the server's stands; `first` is what was read from the client before."""
        self.server = self.client.peer = server
        self.is_joined = True
        self.client.count += len(first)
        self.client.transport.set_protocol(self.client)
        self.client.transport.resume_reading()
        server.transport.write(first)  # last, for it may stop the client

    def cut(self) -> None:
        """End both connections at once; what is buffered is dropped."""
        self.client.transport.abort()
        self.server.transport.abort()

    def finish(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.tunnel_finished(self)

    def unlink(self) -> None:
        """Both ends are closed: let go of what refers to each other, so that all of it is freed now, and not by the collector of cycles."""
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


class TunnelRegistry:
    """The running tunnels of one gate."""

    def __init__(self) -> None:
        self._running: set[Tunnel] = set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(tuple(self._running))

    def __contains__(self, tunnel: Tunnel) -> bool:
        return tunnel in self._running

    def add(self, tunnel: Tunnel) -> None:
        self._running.add(tunnel)

    def remove(self, tunnel: Tunnel) -> None:
        self._running.discard(tunnel)

    def cut(self, predicate: Callable[[Tunnel], bool]) -> int:
        """Cut every tunnel for which `predicate` holds; returns how many."""
        doomed = [tunnel for tunnel in self._running if predicate(tunnel)]
        for tunnel in doomed:
            tunnel.cut()
        return len(doomed)
