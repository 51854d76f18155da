"""The open connections and tunnels of a gate, with their limits and deadlines."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from hedgerow.client_classes import ClassedClient, Places
from hedgerow.proxy.gate.tunnel import MAX_PIPES, Tunnel
from hedgerow.proxy.policy import Counters

_OTHER_DESCRIPTORS = 128 + 2 * MAX_PIPES  # of a worker: listeners, upstreams, lists, log, and pipes of tunnels
_DESCRIPTORS_PER_CONNECTION = 2  # to the client and to the server


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Limits per client. Times are in seconds."""

    head: float = 10.0  # until a request head, and then a ClientHello, is complete
    dial: float = 15.0  # until a server or an inspector is reached
    idle: float = 1800.0  # a tunnel without traffic
    half_closed: float = 120.0  # a tunnel without traffic of which one side is done
    lifetime: float = 24 * 3600.0  # a tunnel, however busy
    device: int = 512  # connections per device
    total: int = 16384  # connections

    def shared_by(self, workers: int) -> GateLimits:
        """The part of one worker: the kernel spreads connections over the workers that listen on one port.

        >>> GateLimits().shared_by(4).device
        128
        """
        return replace(self, device=-(-self.device // workers), total=-(-self.total // workers))

    def within(self, descriptors: int) -> GateLimits:
        """Return limits that this many file descriptors are enough for, of which one device gets at most a quarter.

        >>> GateLimits().within(1024).device, GateLimits().within(1024).total
        (104, 416)
        """
        total = max(8, min(self.total, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION))
        return replace(self, device=max(2, min(self.device, total // 4)), total=total)


class GateTable[C: Hashable]:
    """Connections that are still being read or opened, and running tunnels; both have places, which clients share by
    class.
    """

    def __init__(self, limits: GateLimits, counters: Counters, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.tunnels: set[Tunnel] = set()
        self._counters = counters
        self._clock = clock
        self.places = Places[C | Tunnel](limits.total, limits.device)
        self._deadlines: dict[C, tuple[bool, float]] = {}  # and whether it is the client that is awaited

    @property
    def connections(self) -> tuple[C, ...]:
        return tuple(item for item in self.places.items() if not isinstance(item, Tunnel))

    def to_displace(self, client: ClassedClient) -> C | Tunnel | None:
        """Return what must be closed so that a client gets a place, None if it gets none.

        A connection whose request is not complete comes first, then one that is being opened, then the tunnel that is
        idle for longest.
        """
        contenders = self.places.contenders(client)
        awaited = [item for item in contenders if not isinstance(item, Tunnel) and item in self._deadlines]
        if awaited:
            return max(awaited, key=lambda connection: self._deadlines[connection][0])
        tunnels = [item for item in contenders if isinstance(item, Tunnel)]
        now = self._clock()
        return max(tunnels, key=lambda tunnel: tunnel.idle_for(now)) if tunnels else next(iter(contenders), None)

    def remove(self, connection: C) -> None:
        self._deadlines.pop(connection, None)
        self.places.leave(connection)

    def await_client(self, connection: C) -> None:
        """Start the deadline for the client to complete the head that is being read."""
        self._deadlines[connection] = True, self._clock() + self.limits.head

    def await_server(self, connection: C) -> None:
        """Start the deadline for the connection to be opened, unless it runs already."""
        if self._deadlines.get(connection, (True,))[0]:
            self._deadlines[connection] = False, self._clock() + self.limits.dial

    def expired(self, now: float) -> list[C]:
        """The connections whose deadline has passed."""
        return [connection for connection, (_, deadline) in self._deadlines.items() if deadline <= now]

    def promote(self, connection: C, tunnel: Tunnel) -> None:
        """Replace a connection by the tunnel that it has become."""
        self.places.replace(connection, tunnel)
        tunnel.began = self._clock()
        self._deadlines.pop(connection, None)
        self.tunnels.add(tunnel)

    def finish(self, tunnel: Tunnel) -> None:
        """Forget a tunnel that is over, and count its bytes."""
        self.tunnels.remove(tunnel)
        self.places.leave(tunnel)
        self._counters.add("hedgerow_proxy_bytes_total", "tunnel", "in", count=tunnel.client.count)
        self._counters.add("hedgerow_proxy_bytes_total", "tunnel", "out", count=tunnel.server.count)

    def cut(self, predicate: Callable[[Tunnel], bool]) -> int:
        """Cut the tunnels for which `predicate` is true; returns their number."""
        doomed = [tunnel for tunnel in self.tunnels if predicate(tunnel)]
        for tunnel in doomed:
            tunnel.abort()
        return len(doomed)
