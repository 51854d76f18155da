"""The proxy's front door: read the head, decide, choose a lane. Nothing is dialled before it was judged.

The lanes: *refuse* (a page, or a few words for a refused CONNECT), *tunnel* (bytes relayed unread to the origin) and *inspect* (the
socket is handed over to an inspector with a signed pass; plain HTTP goes there too, so that every request of a connection is judged).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hedgerow.policies.model import Decision, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.connections import BusyTracker, DeviceConnectionLimit
from hedgerow.proxy.gate.connection import GateConnection
from hedgerow.proxy.gate.explicit import ExplicitConnection
from hedgerow.proxy.gate.transparent import BlockPageConnection, TransparentConnection, enable_ip_transparent
from hedgerow.proxy.gate.tunnel import Tunnel, TunnelRegistry
from hedgerow.proxy.handover import HandoverSender
from hedgerow.proxy.policy import Counters, ProxyPolicy, ResolvedHost, ResolvedHostCache, TunnelDecisionCache
from hedgerow.proxy.sign_in import ProxyAuthenticator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What one client may cost us, in seconds and counts."""

    head: float = 10.0  # until a head, and then a ClientHello, is complete
    dial: float = 15.0  # until a destination answers
    idle: float = 1800.0  # a tunnel without a byte
    half_closed: float = 120.0  # a tunnel of which one side is done, without a byte
    lifetime: float = 24 * 3600.0  # a tunnel, however busy it is
    device: int = 512  # connections of one device
    total: int = 16384  # connections

    def shared_by(self, workers: int) -> GateLimits:
        """One worker's part: the kernel spreads connections over the workers that listen on one port.

        >>> GateLimits().shared_by(4).device
        128
        """
        return replace(self, device=-(-self.device // workers), total=-(-self.total // workers))


class Gate:
    """One worker's gate. Runs in the event loop in which `listen` is called; uvloop is what it is made for."""

    def __init__(
        self,
        policy: ProxyPolicy,
        inspectors: Sequence[Path],
        key: bytes,
        limits: GateLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self.key = key
        self.limits = limits or GateLimits()
        self.clock = clock
        self.counters = Counters()
        self.sign_ins = ProxyAuthenticator(clock)
        self.tunnels = TunnelRegistry()
        self._use = BusyTracker[Tunnel]()
        self._connections: set[GateConnection] = set()
        self._read_deadlines: dict[GateConnection, float] = {}
        self._dial_deadlines: dict[GateConnection, float] = {}
        self._by_device = DeviceConnectionLimit(self.limits.device)
        self._servers: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._messenger = HandoverSender(inspectors)
        self._known = ResolvedHostCache(policy.resolve)
        self._decisions = TunnelDecisionCache(policy.decide, policy.passed)

    async def listen(self, host: str, port: int, *, transparent: bool = False, page: bool = False) -> int:
        """Accept connections; returns the port. Several workers may listen on the same one. Raises OSError.

        A `transparent` port is for connections that the network redirects here, one for the `page` for those to a blocked name's
        address, the others for clients that know of the proxy.
        """
        kind = BlockPageConnection if page else TransparentConnection if transparent else ExplicitConnection
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family is socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if transparent and not enable_ip_transparent(listener):
                log.warning("without the right to use foreign addresses only REDIRECT works on the transparent port, TPROXY does not")
            listener.bind((host, port))
            self._servers.append(await loop.create_server(lambda: kind(self), sock=listener, backlog=1024))
        except BaseException:
            listener.close()
            raise
        if self._sweep is None:
            self._sweep = loop.call_later(0.5, self._tick)
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for server in self._servers:
            server.close()
        self._servers.clear()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for task in tasks:
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        self.tunnels.cut(lambda _: True)
        self._messenger.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports tell their protocols

    def swap(self, policy: ProxyPolicy) -> None:
        """A new snapshot holds from now on; running tunnels that it does not allow are cut."""
        self.policy = policy
        self._known = ResolvedHostCache(policy.resolve)
        self._decisions = TunnelDecisionCache(policy.decide, policy.passed)
        self.cut(self.is_forbidden)

    def cut(self, predicate: Callable[[Tunnel], bool]) -> int:
        """Cut the running tunnels for which `predicate` holds; returns how many."""
        count = self.tunnels.cut(predicate)
        if count:
            self.counters.add("hedgerow_proxy_cut_total", count=count)
        return count

    # What connections need of their gate.

    def register(self, connection: GateConnection) -> bool:
        """Whether a new connection may stay; it is then counted until `left`."""
        if len(self._connections) + len(self.tunnels) >= self.limits.total:
            return self._drop("full")
        found = self.policy.find_client(connection.address)
        if found is None:
            return self._drop("outsider")
        device = found[0].id
        if not self._by_device.enter(device):
            return self._drop("device")
        connection.device = device
        self._connections.add(connection)
        return True

    def signed_in(self, connection: GateConnection, device: DeviceId) -> bool:
        """A connection turned out to be another device's; whether that one may have another."""
        if device != connection.device:
            if not self._by_device.enter(device):
                return self._drop("device")
            self._by_device.leave(connection.device)
            connection.device = device
        return True

    def unregister(self, connection: GateConnection) -> None:
        self._connections.discard(connection)
        self._read_deadlines.pop(connection, None)
        self._dial_deadlines.pop(connection, None)
        self._by_device.leave(connection.device)

    def start_read_deadline(self, connection: GateConnection) -> None:
        """The connection must be done with what it reads now within the limit for heads."""
        self._read_deadlines.pop(connection, None)
        self._dial_deadlines.pop(connection, None)
        self._read_deadlines[connection] = self.clock() + self.limits.head

    def start_dial_deadline(self, connection: GateConnection) -> None:
        """The connection has been read, and must be joined to a server within the limit for that."""
        self._read_deadlines.pop(connection, None)
        self._dial_deadlines[connection] = self.clock() + self.limits.dial

    def promote(self, connection: GateConnection, tunnel: Tunnel) -> None:
        """The connection goes on as a tunnel, and is counted as one device's until that is over."""
        tunnel.device, tunnel.began = connection.device, self.clock()
        self._connections.discard(connection)
        self._dial_deadlines.pop(connection, None)
        self.tunnels.add(tunnel)

    def tunnel_finished(self, tunnel: Tunnel) -> None:
        if tunnel not in self.tunnels:
            return  # its server hung up before the client was joined to it
        self.tunnels.remove(tunnel)
        self._by_device.leave(tunnel.device)
        self.counters.add("hedgerow_proxy_bytes_total", "tunnel", "in", count=tunnel.client.count)
        self.counters.add("hedgerow_proxy_bytes_total", "tunnel", "out", count=tunnel.server.count)

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        """What is decided on a tunnel, remembered for as long as it holds."""
        return self._decisions.decide(ruleset, request)

    async def addresses(self, ruleset: Ruleset, device: DeviceId, host: str) -> ResolvedHost:
        """What our resolver says of a host for a device under a ruleset, at most a few seconds old."""
        return await self._known.resolve(ruleset, device, host, self.clock())

    def drop(self, cause: str) -> None:
        self._drop(cause)

    def hand_over(self, client: int, message: bytes) -> bool:
        """Whether an inspector has the client's socket now, or else none has room at the moment. Raises OSError when none is up."""
        return self._messenger.hand_over(client, message)

    def _drop(self, cause: str) -> bool:
        self.counters.add("hedgerow_proxy_dropped_total", cause)
        return False

    # What happens by time.

    def _tick(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(0.5, self._tick)
        now = self.clock()
        try:
            self._enforce_deadlines(now)
            if count := self.tunnels.cut(lambda tunnel: self._is_over(tunnel, now)):
                self.counters.add("hedgerow_proxy_dropped_total", "timeout", count=count)
            self.cut(lambda tunnel: tunnel.ruleset.until is not None and tunnel.ruleset.until <= now and self.is_forbidden(tunnel))
            for tunnel in self._use.busy(self.tunnels, now):
                self.policy.use(tunnel.ruleset, tunnel.requests[-1])
            self.counters["hedgerow_proxy_open_tunnels",] = len(self.tunnels)
        except Exception:
            log.exception("the sweep of the gate failed")

    def _enforce_deadlines(self, now: float) -> None:
        # The same limit for all, so the oldest stand first.
        for connection, deadline in tuple(self._read_deadlines.items()):
            if deadline > now:
                break
            self._drop("timeout")
            connection.expire_read()
        for connection, deadline in tuple(self._dial_deadlines.items()):
            if deadline > now:
                break
            connection.expire_dial()

    def _is_over(self, tunnel: Tunnel, now: float) -> bool:
        """Whether its time is over, be it idle or not."""
        limit = self.limits.half_closed if tunnel.half_closed else self.limits.idle
        return tunnel.idle_for(now) > limit or now - tunnel.began > self.limits.lifetime

    def is_forbidden(self, tunnel: Tunnel) -> bool:
        """Judge a running tunnel again; it takes on the ruleset under which it may go on."""
        found = self.policy.find_client(tunnel.address)
        if found is None:
            return True
        ruleset = found[1]
        if any(self.decide(ruleset, request).verdict in {Verdict.BLOCK, Verdict.INSPECT} for request in tunnel.requests):
            return True
        tunnel.ruleset = ruleset
        return False
