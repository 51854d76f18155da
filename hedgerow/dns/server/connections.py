"""Connections of clients: a bounded table for each server, and the flow control of a connection over TCP or TLS."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Protocol, cast

from hedgerow.client_classes import ClassedClient, Places, outside_client
from hedgerow.dns.server.turns import TurnScheduler
from hedgerow.sockets import descriptor_limit

_OTHER_DESCRIPTORS: Final = 128  # of a worker: listeners, upstreams, lists, log


def affordable(connections: int, descriptors: int | None = None) -> int:
    """Return how many of these connections a server may have, so that all servers together leave descriptors for
    upstreams.

    >>> affordable(512, 1024), affordable(512, 256)
    (448, 64)
    """
    limit = descriptor_limit() if descriptors is None else descriptors
    # two servers: plain and over TLS, and over HTTPS
    return max(8, min(connections, (limit - _OTHER_DESCRIPTORS) // 2))


class ClientConnection(Hashable, Protocol):
    """An entry of a `ClientConnectionTable`."""

    owner: ClassedClient
    """The client that the connection counts for."""
    active_at: float
    """When a known client last asked something, on the loop's clock."""
    is_known: bool
    """True if a client that may ask has used it."""
    outstanding: int
    """Queries that wait for upstreams."""

    @property
    def is_evictable(self) -> bool:
        """True if it may be closed to make room for another."""

    @property
    def idle_seconds(self) -> float:
        """Seconds without a query after which it is closed."""

    def abort(self) -> None: ...

    def identify(self, owner: ClassedClient) -> None:
        """Count it as a connection of a client that has turned out to use it."""

    def evict(self) -> None:
        """Close it because another connection needs its place."""


class ClientConnectionTable[C: ClientConnection]:
    """The open connections of one server, at most `most`, and `most_per_owner` for one client.

    `on_rejected` counts refused ones.

    In a full table an idle connection makes room, as `Places` chooses its client.
    """

    def __init__(self, most: int, most_per_owner: int, on_rejected: Callable[[], None]) -> None:
        self.places = Places[C](most, most_per_owner)
        self._on_rejected = on_rejected

    @property
    def connections(self) -> tuple[C, ...]:
        return self.places.items()

    def admit(self, connection: C, *, is_refused: bool = False) -> bool:
        """Add a new connection if there is room for it."""
        if is_refused:
            self._on_rejected()
            return False
        if not self.has_room(connection.owner):
            return False
        self.add(connection)
        return True

    def has_room(self, owner: ClassedClient, *, evicts_own: bool = False) -> bool:
        """Return whether a client may open a connection, for which another one may be closed.

        `evicts_own`: a client that has too many makes room by one of its own.
        """
        places = self.places
        if places.has_room(owner):
            return True
        contenders = places.contenders(owner)
        if contenders:
            self._evict(contenders)
            return True
        is_over_its_limit = places.count(owner) >= places.per_client
        own = [connection for connection in places.items_of(owner) if connection.is_evictable]
        if own and (evicts_own or not is_over_its_limit):
            self._evict(own)
            return True
        self._on_rejected()
        return False

    def add(self, connection: C) -> None:
        self.places.enter(connection, connection.owner)

    def discard(self, connection: C) -> None:
        self.places.leave(connection)

    def identify(self, connection: C, owner: ClassedClient) -> None:
        """Count a connection as that of the client that has turned out to use it, unless that has too many."""
        if connection in self.places and self.places.move(connection, owner):
            connection.owner = owner

    def close_idle(self, now: float) -> None:
        """Close connections without queries. `now` is on the loop's clock."""
        for connection in self.connections:
            if now - connection.active_at > connection.idle_seconds:
                connection.abort()

    def close(self) -> None:
        for connection in self.connections:
            connection.abort()

    def _evict(self, connections: Iterable[C]) -> None:
        """Close the longest idle one, if possible one that nobody has used, and none that waits for an answer."""
        longest = min(
            connections, key=lambda connection: (not connection.is_evictable, connection.is_known, connection.active_at)
        )
        self.discard(longest)
        longest.evict()


class StreamProtocol(asyncio.Protocol):
    """A client's connection over TCP or TLS.

    It is not read while too much of it is unanswered, unsent or waits for its turn.

    `address` is the client's, which is not the peer's behind a load balancer.
    """

    def __init__(self, turns: TurnScheduler, address: str) -> None:
        self._turns = turns
        self.address = address
        self.owner = outside_client(address)
        self.active_at = asyncio.get_running_loop().time()
        self.is_known = False
        self.outstanding = 0  # queries that wait for upstreams
        self._transport: asyncio.Transport | None = None
        self._write_paused = False
        self._awaits_turn = False

    @property
    @abstractmethod
    def max_outstanding(self) -> int: ...

    @abstractmethod
    def _work(self) -> None:
        """Serve what has been received while `_has_room`, then call `_update_reading`."""

    @property
    def is_evictable(self) -> bool:
        return not (self.is_known and self.outstanding)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has all of its methods and is not a subclass

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None

    def pause_writing(self) -> None:
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._work_soon()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def evict(self) -> None:
        self.abort()

    def _work_soon(self) -> None:
        """Call `_work` now, or once the connection has its turn."""
        if not self._awaits_turn:
            self._awaits_turn = True
            self._turns.run(self.owner, self._take_turn)
            if self._awaits_turn:
                self._update_reading()

    def _yield_turn(self) -> None:
        """Go on with `_work` after other clients had their turn."""
        self._awaits_turn = True
        self._turns.queue(self.owner, self._take_turn)

    def _take_turn(self) -> None:
        self._awaits_turn = False
        self._work()

    def _has_room(self) -> bool:
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and not self._write_paused and not self._awaits_turn and self.outstanding < self.max_outstanding

    def _update_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_room():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
