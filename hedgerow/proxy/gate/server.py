"""The proxy's listeners. A gate reads the first bytes of each connection and chooses a lane before anything is dialled.

The lanes: *refuse* (a page, a message or a TLS alert), *tunnel* (bytes relayed unread to the server) and *inspect* (an
inspector gets the socket, introduced by a signed header). Plain HTTP is inspected too, so that every request of a
connection is judged.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hedgerow.policies.activity import MIN_BUSY_BYTES
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Verdict
from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.connections import BusyTracker, report_busy
from hedgerow.proxy.gate.balanced import BalancedConnection
from hedgerow.proxy.gate.connection import GateConnection
from hedgerow.proxy.gate.destination import original_destination, own_address
from hedgerow.proxy.gate.handover_queue import HandoverQueue
from hedgerow.proxy.gate.resources import GateResources
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.gate.table import GateLimits, GateTable
from hedgerow.proxy.gate.tunnel import PipePool, Tunnel
from hedgerow.proxy.handover import HandoverSender
from hedgerow.proxy.policy import Counters, ProxyPolicy
from hedgerow.proxy.poller import running_poller
from hedgerow.proxy.sign_in import ProxyAuthenticator
from hedgerow.proxy.tunnel_traffic import TunnelTraffic
from hedgerow.proxy_protocol import LoadBalancers
from hedgerow.ticks import seconds_to_tick
from hedgerow.watched_tasks import note_unexpected

_SWEEP_SECONDS = 1.0
_BACKLOG = 1024
_MAX_ACCEPTS = 32
_ACCEPT_RETRY_SECONDS = 0.5
_MOST_UNSENT = 256 * 1024
"""Octets that the kernel takes of us beyond those that are on their way to a client: else megabytes for one that reads
nothing.
"""

_DEFER_SECONDS = 1
"""Seconds for which the kernel keeps a connection while its client sends nothing, so that most are accepted with their
request.
"""


class Gate:
    """The gate of one worker. Runs in the event loop in which it is made, a `PollerLoop`.

    What tunnels carry is judged every `judging_seconds`.
    """

    judging_seconds = 60.0

    def __init__(
        self,
        policy: ProxyPolicy,
        inspectors: Sequence[Path],
        key: bytes,
        limits: GateLimits | None = None,
        clock: Callable[[], float] = time.time,
        examiner: CertificateExaminer | None = None,
    ) -> None:
        self.counters = Counters()
        self._clock = clock
        self._rules = GateRules(policy, key, ProxyAuthenticator(clock))
        self._table = GateTable[GateConnection](limits or GateLimits(), self.counters, clock)
        self._handovers = HandoverQueue(HandoverSender(inspectors))
        self._balancers = LoadBalancers(
            lambda: self._rules.policy.proxy_protocol_from,
            partial(self.counters.add, "hedgerow_proxy_dropped_total", "proxy-header"),
        )
        self._poller, self._pipes = running_poller(), PipePool()
        self._traffic = TunnelTraffic()
        self._resources = GateResources[GateConnection](
            rules=self._rules,
            table=self._table,
            handovers=self._handovers,
            examiner=examiner,
            counters=self.counters,
            clock=clock,
            poller=self._poller,
            pipes=self._pipes,
            traffic=self._traffic,
        )
        self._minute, self._moving = 0, tuple[Tunnel, ...]()
        self._busy = BusyTracker[Tunnel]()
        self._listeners: list[socket.socket] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def serve(self, listener: socket.socket, *, transparent: bool = False, page: bool = False) -> None:
        """Accept connections on a bound socket, which `close` closes. Raises OSError.

        A `transparent` port takes connections that the network redirects here, one for the `page` those to the address
        that blocked names resolve to, any other those of clients that know the proxy.
        """
        self._listeners.append(listener)
        destination_of = own_address if page else original_destination if transparent else None
        protection = None if page else Protection.GATEWAY if transparent else Protection.PROXY
        listener.setblocking(False)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # of the connections too, which inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        listener.listen(_BACKLOG)

        def greet(client: socket.SocketType, address: str, first: bytes | None = None) -> None:
            GateConnection(self._resources, client, address, destination_of, protection).begin(first)

        def greet_maybe_balanced(client: socket.SocketType, address: str) -> None:
            """Read the header with the client's address first, on a connection that a load balancer has passed on."""
            if self._rules.policy.proxy_protocol_from and self._balancers.sends_header(address):
                BalancedConnection(self._poller, self._balancers, client, address, greet)
            else:
                greet(client, address)

        self._accept_on(listener, greet if destination_of is not None else greet_maybe_balanced)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(seconds_to_tick(_SWEEP_SECONDS), self._tick)

    def _accept_on(self, listener: socket.socket, greet: Callable[[socket.SocketType, str], None]) -> None:
        self._poller.watch(listener, partial(self._accept, listener, greet))

    def _accept(self, listener: socket.socket, greet: Callable[[socket.SocketType, str], None], _events: int) -> None:
        """Accept the connections that wait, up to a number, and `greet` each."""
        for _ in range(_MAX_ACCEPTS):
            try:
                client, peer = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                note_unexpected("the gate can accept no connection for a moment")
                self._poller.unwatch(listener)
                asyncio.get_running_loop().call_later(_ACCEPT_RETRY_SECONDS, self._accept_again, listener, greet)
                return
            client.setblocking(False)
            try:
                greet(client, peer[0])
            except Exception:
                note_unexpected("a connection failed at the gate")
                self._poller.close(client)
        self._poller.unwatch(listener)  # and from anew, since nothing else would tell that more wait
        self._accept_on(listener, greet)

    def _accept_again(self, listener: socket.socket, greet: Callable[[socket.SocketType, str], None]) -> None:
        if listener in self._listeners:
            self._accept_on(listener, greet)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for listener in self._listeners:
            self._poller.release(listener)
        self._listeners.clear()
        connections = self._table.connections
        tasks = [connection.task for connection in connections if connection.task is not None]
        for task in tasks:
            task.cancel()
        for connection in connections:
            connection.abort()
        self._table.cut(lambda _: True)
        self._handovers.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pipes.close()

    def swap(self, policy: ProxyPolicy) -> None:
        """Put a new snapshot's policy in force, and cut the tunnels that it does not allow."""
        self._rules.swap(policy)
        self._cut(self._is_forbidden)

    def _tick(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(seconds_to_tick(_SWEEP_SECONDS), self._tick)
        now = self._clock()
        try:
            for connection in self._table.expired(now):
                connection.time_out()
            if count := self._table.cut(lambda tunnel: self._has_timed_out(tunnel, now)):
                self.counters.add("hedgerow_proxy_dropped_total", "timeout", count=count)
            self._cut(
                lambda tunnel: (
                    tunnel.ruleset.until is not None and tunnel.ruleset.until <= now and self._is_forbidden(tunnel)
                )
            )
            minute = int(now // self.judging_seconds)
            if minute != self._minute:
                uses = (tunnel.take_use() for tunnel in self._moving if tunnel.requests)
                self._traffic.close_tunnels(self._minute, uses, self._rules.policy, now)
            busy = tuple(self._busy.busy(tuple(self._table.tunnels), now))
            self._minute, self._moving = minute, tuple(tunnel for tunnel, _ in busy)
            self._look_again([tunnel for tunnel, octets in busy if octets >= MIN_BUSY_BYTES])
            # A tunnel without requests is to our own pages, whose use is not counted.
            report_busy(
                ((tunnel.ruleset, tunnel.requests[-1], octets) for tunnel, octets in busy if tunnel.requests),
                self._rules.policy.report_use,
            )
            self.counters["hedgerow_proxy_open_tunnels",] = len(self._table.tunnels)
        except Exception:
            note_unexpected("the sweep of the gate failed")

    def _look_again(self, busy: Iterable[Tunnel]) -> None:
        """Look at the servers of unlisted hosts again while they are used, and cut tunnels to those that turn out to be
        closed: one may answer late, or differently from the first time.
        """
        examiner = self._resources.examiner
        if examiner is None:
            return
        for tunnel in busy:
            if tunnel.examined is not None:
                examiner.renew(tunnel.examined)
        self._cut(self._is_found_out)

    def _is_found_out(self, tunnel: Tunnel) -> bool:
        server = tunnel.examined
        if server is None or not (flaw := self._resources.flaw_of(server)):
            return False
        client = self._rules.find_client(tunnel.address)
        if client is None:
            return False
        request = replace(server.unlisted, flaw=flaw)
        decision = self._rules.decide(client, request)
        if decision.verdict is not Verdict.BLOCK:
            return False
        self._resources.count_decision("refuse", decision)
        self._rules.policy.observe(client.device, client.ruleset, request, decision)
        return True

    def _cut(self, predicate: Callable[[Tunnel], bool]) -> None:
        if count := self._table.cut(predicate):
            self.counters.add("hedgerow_proxy_cut_total", count=count)

    def _has_timed_out(self, tunnel: Tunnel, now: float) -> bool:
        limits = self._table.limits
        limit = limits.half_closed if tunnel.half_closed else limits.idle
        return tunnel.idle_for(now) > limit or now - tunnel.began > limits.lifetime

    def _is_forbidden(self, tunnel: Tunnel) -> bool:
        """Judge a running tunnel again. It takes on the ruleset under which it may go on."""
        ruleset = self._rules.ruleset_allowing(tunnel.address, tunnel.requests)
        if ruleset is not None:
            tunnel.ruleset = ruleset
        return ruleset is None
