"""The inspector: takes connections from gates over a Unix socket and judges each of their requests.

mitmproxy's HTTP layers are embedded. They keep no flows and stream every body. Sockets, TLS and the event loop are ours
(`handshake.py`, `connection.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from mitmproxy import connection

from hedgerow.client_classes import ClassedClient, Places
from hedgerow.proxy import handover
from hedgerow.proxy.connections import BusyRequest, BusyTracker, report_busy
from hedgerow.proxy.handover import CHECKED, TRIAL_ADDRESS, UNSIGNED, parse_handover_header
from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.clients import ActiveRequest
from hedgerow.proxy.inspection.connection import InspectedConnection
from hedgerow.proxy.inspection.context import InspectorSession
from hedgerow.proxy.inspection.handshake import ClientHandshake
from hedgerow.proxy.inspection.inspected_traffic import InspectedTraffic
from hedgerow.proxy.inspection.leaf_certificates import LeafCertificates
from hedgerow.proxy.inspection.origins import OriginPool
from hedgerow.proxy.inspection.parallel_handshakes import ParallelHandshakes
from hedgerow.proxy.inspection.shares import DeviceShares
from hedgerow.proxy.inspection.socket_transport import SocketTransport
from hedgerow.proxy.pass_through import CertificateRefusals
from hedgerow.proxy.policy import Counters, ProxyPolicy, class_of
from hedgerow.proxy.poller import Poller
from hedgerow.proxy.scanners.launcher import StartProgram, start_child
from hedgerow.sockets import descriptor_limit
from hedgerow.ticks import next_tick
from hedgerow.watched_tasks import note_unexpected

IDLE_LIMIT = 1800.0
"""Seconds after which an idle connection is closed."""

STALLED_LIMIT = 300.0
"""The same while an origin takes nothing of an upload: its client is not read then, and may have left."""

LIFE_LIMIT = 24 * 3600.0
"""Seconds after which any connection is closed, like a tunnel."""

HANDSHAKE_LIMIT = 10.0
"""Seconds for the handshake, from the handover to the first bytes of HTTP, and for each head."""

RETIRE_SECONDS = 3600.0
"""Seconds for which an inspector whose successor serves keeps its open connections."""

DEVICE_LIMIT = 512
"""Inspected connections of one device, divided among all inspectors."""

TOTAL_LIMIT = 4096
"""Connections of one inspector."""

_OTHER_DESCRIPTORS, _DESCRIPTORS_PER_CONNECTION = 256, 2

_MAX_PER_WAKEUP = 16
"""Connections that are accepted before others have their turn."""

_SWEEP, _LAST_HANDOVERS = 1.0, 0.5
_END_GRACE = 1.0


class Inspector:
    """The inspector of one process; `run` serves until `stop`.

    `signer` is the signer's socket, `upstream_ca` a file of additional CAs.

    `start_program` starts the programs of features that judge bodies.

    Without `refusals` a client that refuses our certificate reaches nothing.
    """

    def __init__(
        self,
        policy: ProxyPolicy,
        key: bytes,
        signer: Path,
        *,
        upstream_ca: Path | None = None,
        clock: Callable[[], float] = time.time,
        refusals: CertificateRefusals | None = None,
        start_program: StartProgram = start_child,
        device_limit: int = DEVICE_LIMIT,
        total_limit: int = TOTAL_LIMIT,
        hello_limit: float = HANDSHAKE_LIMIT,
        idle_limit: float = IDLE_LIMIT,
        life_limit: float = LIFE_LIMIT,
    ) -> None:
        self.counters = Counters()
        self.clock = clock
        self.key = key
        self.leaf_certificates = LeafCertificates(signer)
        self._traffic = InspectedTraffic(clock)
        self.inspection = InspectionAddon(
            self._traffic.applied_to(policy), key, self.counters, clock, self._close, refusals, start_program
        )
        self.origins = OriginPool(upstream_ca)
        self._poller = Poller()
        self._sessions: dict[str, InspectorSession] = {}  # by the ids of their clients
        self._hello_limit = hello_limit
        self._idle_limit = idle_limit
        self._life_limit = life_limit
        self.parallel_handshakes = ParallelHandshakes()
        self.shares = DeviceShares()
        affordable = (descriptor_limit() - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION
        self._places = Places[str](max(8, min(total_limit, affordable)), device_limit)  # by the ids of clients
        self._use = BusyTracker[InspectedConnection]()
        self._ending = asyncio.Event()
        self._drained = asyncio.Event()
        self._listener: socket.socket | None = None

    async def run(self, listener: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
        """Serve on a Unix socket, which a predecessor may share, until `stop`. `ready` is called once it listens."""
        self._listener = listener
        asyncio.get_running_loop().add_reader(self._poller.fileno(), self._poller.poll)
        asyncio.get_running_loop().add_reader(listener, self._take_over, listener)
        sweeping = asyncio.create_task(self._sweep())
        try:
            ready()
            await self._ending.wait()
        finally:
            sweeping.cancel()
            self._stop_listening()
            await self._end()
            asyncio.get_running_loop().remove_reader(self._poller.fileno())
            self._poller.end()

    def stop(self) -> None:
        """End `run`. Call it from its loop."""
        self._ending.set()

    @property
    def is_idle(self) -> bool:
        """True while there is no connection."""
        return not self._sessions

    async def retire(self, limit: float = RETIRE_SECONDS) -> None:
        """Accept no new connection, and wait at most `limit` seconds for the last one to end.

        A successor serves on the path already.
        """
        await asyncio.sleep(_LAST_HANDOVERS)  # accept what was handed over before
        self._stop_listening()
        self._drained.clear()
        if self._sessions:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), limit)

    def swap(self, policy: ProxyPolicy) -> None:
        """Put a new policy in force, and close the connections of active requests that it blocks."""
        self.inspection.swap(self._traffic.applied_to(policy))
        self._cut(lambda _: True)

    # Handover.

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _take_over(self, listener: socket.socket) -> None:
        for _ in range(_MAX_PER_WAKEUP):
            found = handover.receive_client(listener)
            if found is None:
                return
            try:
                self._admit(*found)
            except Exception:
                note_unexpected("cannot take a connection over")
                found[0].close()

    def _admit(self, client: socket.socket, message: bytes) -> None:
        text, _, first = message.partition(b"\r\n")
        policy = self.inspection.clients.policy
        header = parse_handover_header(self.key, text, self.clock())
        if header is not None and header.target is not None and header.address == TRIAL_ADDRESS:
            self.leaf_certificates.request(header.target.host, lambda context: _answer_trial(client, context))
            return None
        found = policy.find_client(header.address) if header is not None else None
        if (
            header is None
            or found is None
            or (header.target is not None and header.target.port not in policy.guard.ports)
        ):
            return self._turn_away(client, "inspector")
        device, loop = found[0], asyncio.get_running_loop()
        share = self.shares.of(device.id, is_named=device.known)
        if share.tokens.are_spent(loop.time()):
            return self._turn_away(client, "flood")
        classed = class_of(header.address, device)
        if not self._places.has_room(classed) and not self._make_room(classed, loop.time()):
            return self._turn_away(
                client, "device" if self._places.count(classed) >= self._places.per_client else "full"
            )
        handshake = ClientHandshake(self, header, first, share)
        self._places.enter(handshake.client.id, classed)
        self.inspection.clients.admit(handshake.client, header.address)
        is_short = not first and header.target is not None  # its ClientHello is still to come
        if not is_short and self.shares.must_wait(share, time.perf_counter()):
            self.shares.wait(share, lambda: self._begin(handshake, client))
        else:
            self._begin(handshake, client)
        return None

    def _make_room(self, client: ClassedClient, now: float) -> bool:
        """Close the connection that a client's new one displaces: one in its handshake, or the one that is idle for
        longest.
        """
        contenders = self._places.contenders(client)
        if not contenders:
            return False
        displaced = max(
            contenders,
            key=lambda id: (
                session.idle_seconds(now)
                if isinstance(session := self._sessions.get(id), InspectedConnection)
                else math.inf
            ),
        )
        self.counters.add("hedgerow_proxy_dropped_total", "full")
        self._places.leave(displaced)
        if displaced in self._sessions:  # else it waits for its turn
            self._sessions[displaced].abort()
        return True

    def _begin(self, handshake: ClientHandshake, client: socket.socket) -> None:
        if handshake.client.id not in self._places:  # displaced while it waited
            client.close()
            self.unregister(handshake)
            return
        try:
            client.setblocking(False)
            SocketTransport(client, handshake.stream, self._poller)
            self.shares.run(handshake.share, handshake.begin)
        except Exception:
            note_unexpected("cannot take a connection over")
            if handshake.stream.is_open:
                handshake.abort()  # whose end takes it off the poller and out of the table
                return
            client.close()
            self.unregister(handshake)

    def _turn_away(self, client: socket.socket, cause: str) -> None:
        self.counters.add("hedgerow_proxy_dropped_total", cause)
        client.close()

    # The context of connections.

    def register(self, session: InspectorSession) -> None:
        self._sessions[session.client.id] = session

    def unregister(self, session: InspectorSession) -> None:
        client = session.client
        self._sessions.pop(client.id, None)
        if not self._sessions:
            self._drained.set()
        self.inspection.clients.leave(client)
        self._places.leave(client.id)
        lane = "inspect" if client.tls else "http"
        self.counters.add("hedgerow_proxy_bytes_total", lane, "in", count=session.stream.bytes_received)
        self.counters.add("hedgerow_proxy_bytes_total", lane, "out", count=session.stream.bytes_sent)

    def _close(self, client: connection.Client) -> None:
        if client.id in self._sessions:
            self._sessions[client.id].abort()

    async def _end(self) -> None:
        for session in tuple(self._sessions.values()):
            session.abort()
        self.origins.close()
        self.leaf_certificates.close()
        self.inspection.scanning.close()
        deadline = time.monotonic() + _END_GRACE
        while self._sessions and time.monotonic() < deadline:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)  # the transports report their end

    # Periodic work.

    def _cut(self, is_due: Callable[[ActiveRequest], bool]) -> None:
        count = self.inspection.clients.recheck(is_due, self._close)
        if count:
            self.counters.add("hedgerow_proxy_cut_total", count=count)

    def _note_use(self, now: float) -> None:
        """Report the use of connections that long responses keep busy. Each request was observed when it came."""
        clients = self.inspection.clients
        requests: list[BusyRequest] = []
        connections = (each for each in self._sessions.values() if isinstance(each, InspectedConnection))
        for inspected, octets in self._use.busy(connections, now):
            self._traffic.note(clients, inspected)
            by_host = {active.requests[-1].host: active for active in clients.active_of(inspected.client)}
            requests += ((active.ruleset, active.requests[-1], octets) for active in by_host.values())
        report_busy(requests, clients.policy.report_use)

    def _enforce_deadlines(self, now: float) -> None:
        """Close connections without a complete head or handshake, idle ones, and those past their lifetime.

        `now` is in the loop's time.
        """
        for session in tuple(self._sessions.values()):
            if isinstance(session, InspectedConnection):
                limit = min(self._idle_limit, STALLED_LIMIT) if session.is_stalled else self._idle_limit
                is_idle = session.idle_seconds(now) > limit or session.head_seconds(now) > self._hello_limit
                is_over = is_idle or now - session.began > self._life_limit or session.stream.is_reset_unread
            else:
                is_over = session.idle_seconds(now) > self._hello_limit
            if is_over:
                self.counters.add("hedgerow_proxy_dropped_total", "timeout")
                session.abort()

    async def _sweep(self) -> None:
        while True:
            await next_tick(_SWEEP)
            now = self.clock()
            try:
                self._cut(lambda running: running.ruleset.until is not None and running.ruleset.until <= now)  # noqa: B023
                self.origins.sweep()
                self.inspection.heads.age(asyncio.get_running_loop().time())
                if self._traffic.close_tunnels(self.inspection.clients.policy):
                    self._cut(lambda _: True)
                self._note_use(now)
                self.counters["hedgerow_proxy_open_tunnels",] = len(self._sessions)
                self._enforce_deadlines(asyncio.get_running_loop().time())
                self.shares.kept.give_back()
            except Exception:
                note_unexpected("the sweep of the inspector failed")


def _answer_trial(client: socket.socket, context: ssl.SSLContext | None) -> None:
    with client, contextlib.suppress(OSError):
        client.send(UNSIGNED if context is None else CHECKED)
