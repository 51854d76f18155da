"""The gateway's process, the only one that uses nftables: it keeps the table in place, runs services of
features, admits destinations for DNS workers, and counts minutes of use by forwarded bytes, which it
reports to control.

The supervisor runs it while the gateway is configured, or a service of its own does (`hedgerow gateway run`). It is
apart from control, whose long work must never delay a DNS answer. It needs CAP_NET_ADMIN and reads the snapshot; it has
no need of the journal, the CA key or the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from hedgerow.app.announcements import notify_systemd
from hedgerow.app.feature_services import FeatureServices
from hedgerow.app.gateway.controller import GatewayController
from hedgerow.app.gateway.traffic import count_traffic
from hedgerow.app.ipc import HEARTBEAT_INTERVAL_S
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, SnapshotWatch
from hedgerow.features import FEATURES
from hedgerow.features.contract import ControlService, Feature, GatewayCore
from hedgerow.journal.event_sender import UNEXPECTED_METRIC, EventSender
from hedgerow.journal.messages import heartbeat
from hedgerow.network.access_state import DeviceStates, addresses_not_open, addresses_to_cut
from hedgerow.network.admissions import (
    AdmissionRequest,
    Destination,
    DestinationTable,
    elements_by_set,
    pack_reply,
    parse_request,
)
from hedgerow.network.gateway import GatewayError, installed_table
from hedgerow.network.gateway_rules import CUT_TIMEOUT_S
from hedgerow.network.neighbours import Neighbours
from hedgerow.network.nft_sets import MAX_ELEMENTS, SetElement, SetWriter
from hedgerow.network.source_rules import MAX_OWNERS, OWNED_SETS, Owner, owner_elements, owners_of
from hedgerow.sockets import SocketPath, bind_unix_socket
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick, seconds_to_tick
from hedgerow.watched_tasks import WatchedTasks

log = logging.getLogger("hedgerow.gateway")

TICK_S, REMOVAL_INTERVAL_S = 1.0, 0.5
SWEEP_INTERVAL_S, LOOK_INTERVAL_S = 60.0, 1.0
RENEW_INTERVAL_S = 5.0
CUT_INTERVAL_S = 0.5
COUNT_EVERY = 30
"""Seconds between two looks at the table's counters."""
_REQUESTS_PER_TURN = 64  # in one transaction
_DATAGRAM_OCTETS = 4096
_BACKLOG = 64


class AdmissionServer:
    """Admission of destinations for workers that connect to a Unix socket.

    Each request is answered once the kernel has the elements.
    """

    def __init__(self, path: Path, writer: SetWriter) -> None:
        self._path, self._writer = path, writer
        self._table = DestinationTable()
        self._listening: socket.socket | None = None
        self._place: SocketPath | None = None
        self._connections: set[socket.socket] = set()
        self._problem = ""

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (*self._connections, *filter(None, [self._listening])):
            loop.remove_reader(sock)
            sock.close()
        self._connections.clear()
        self._listening = None
        self._path.unlink(missing_ok=True)

    async def restore(self) -> None:
        """Write all destinations again, since the table may have been replaced. Requests are served in between.

        The first call, once there is a table, begins to listen. Raises OSError.
        """
        if self._listening is None:
            self._listen()
        rest = list(self._table.left(time.monotonic()))
        for at in range(0, len(rest), MAX_ELEMENTS):
            if not self._write(elements_by_set(rest[at : at + MAX_ELEMENTS])):
                return
            await asyncio.sleep(0)

    async def sweep(self) -> None:
        """Forget expired destinations, until cancelled. The kernel does so by itself."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self._table.drop_expired(time.monotonic())

    async def keep_listening(self) -> None:
        """Listen again if the socket's path was removed or replaced, until cancelled. Raises OSError."""
        while True:
            await next_tick(LOOK_INTERVAL_S)
            if self._place is not None and not self._place.is_in_place:
                self._listen()
                log.error("%s was removed or replaced: it is made again", self._path)

    def _listen(self) -> None:
        sock = bind_unix_socket(self._path, socket.SOCK_SEQPACKET, _BACKLOG)
        self._place = SocketPath.of(self._path)
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        self._listening = sock
        asyncio.get_running_loop().add_reader(sock, self._accept)

    def _accept(self) -> None:
        assert self._listening is not None
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            connection.setblocking(False)
            self._connections.add(connection)
            asyncio.get_running_loop().add_reader(connection, self._receive, connection)

    def _receive(self, connection: socket.socket) -> None:
        requests: list[AdmissionRequest] = []
        try:
            while len(requests) < _REQUESTS_PER_TURN:
                datagram = connection.recv(_DATAGRAM_OCTETS)
                request = parse_request(datagram)
                if request is None:  # an empty datagram: the worker has ended
                    self._disconnect(connection)
                    break
                requests.append(request)
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect(connection)
        if requests:
            is_admitted = self._admit(requests)
            for request in requests:
                with contextlib.suppress(OSError):
                    connection.send(pack_reply(request.number, is_admitted=is_admitted))

    def _admit(self, requests: list[AdmissionRequest]) -> bool:
        now = time.monotonic()
        added: dict[Destination, int] = {}
        removed: dict[Destination, int] = {}
        for request in requests:
            destinations = request.destinations
            for destination in destinations:
                removed.pop(destination, None)
                added[destination] = max(request.seconds, added.get(destination, 0))
            for destination in self._table.admit(destinations, now + request.seconds):
                added.pop(destination, None)
                removed[destination] = 1
        return self._write(elements_by_set(added.items()), elements_by_set(removed.items()))

    def _write(self, added: dict[str, list[SetElement]], removed: dict[str, list[SetElement]] | None = None) -> bool:
        problem = ""
        try:
            self._writer.write(added, removed)
        except OSError as error:
            problem = str(error.strerror)
            if problem != self._problem:
                log.error("Destinations can't be admitted: %s", problem)
        self._problem = problem
        return not problem

    def _disconnect(self, connection: socket.socket) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            asyncio.get_running_loop().remove_reader(connection)
            connection.close()


class AddressOwnerWriter:
    """The gateway's sets of owners of IP addresses, written from the neighbour table. The sets must exist."""

    def __init__(self, writer: SetWriter) -> None:
        self._writer = writer
        self._changed = asyncio.Event()
        self._written: frozenset[Owner] = frozenset()
        self._neighbours = Neighbours(self._changed.set)

    async def run(self) -> None:
        """Follow the neighbour table, and renew the elements before they expire, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._neighbours.keep_fresh())
            tasks.create_task(self._write_changes())

    def neighbours(self) -> Mapping[str, str]:
        """Return the MAC addresses by IP address."""
        return self._neighbours.entries()

    def restore(self) -> None:
        """Write all elements again, since the table may have been replaced."""
        self._written = frozenset()
        self._changed.set()

    async def _write_changes(self) -> None:
        while True:
            is_change = True
            try:
                await asyncio.wait_for(self._changed.wait(), RENEW_INTERVAL_S)
            except TimeoutError:
                is_change = False
            self._changed.clear()
            owners = owners_of(self._neighbours.entries())
            self._write(owners, owners - self._written if is_change else owners)

    def _write(self, owners: frozenset[Owner], news: frozenset[Owner]) -> None:
        removed = owner_elements(self._written - owners)
        still_owned = {owner.address for owner in owners}
        for name in removed.keys() & OWNED_SETS:
            removed[name] = [element for element in removed[name] if element.key not in still_owned]
        ordered = sorted(news)
        try:
            for at in range(0, len(ordered), MAX_ELEMENTS):
                self._writer.write(owner_elements(ordered[at : at + MAX_ELEMENTS]), removed)
                removed = {}
            self._writer.write({}, removed)
            self._written = owners
        except OSError:
            self._written = frozenset()  # there is no table at the moment; all are written next time


async def keep_addresses(
    writer: SetWriter, states: Callable[[], DeviceStates | None], neighbours: Callable[[], Mapping[str, str]]
) -> None:
    """Write the addresses of closed devices and of all that are not open, until cancelled: what comes in for them is
    dropped.

    The table itself does so only for closed devices that send something.
    """
    written, last, until = (frozenset[str](), frozenset[str]()), None, 0.0
    while True:
        await next_tick(CUT_INTERVAL_S)
        current = states()
        if current is None:
            continue
        table = neighbours()
        wanted = addresses_to_cut(current, table), addresses_not_open(current, table)
        if wanted == written and current.is_same(last) and time.monotonic() < until:
            continue
        with contextlib.suppress(OSError):  # there is no table at the moment: all are written next time
            for name, addresses in zip(("cut", "restricted"), wanted, strict=True):
                _write_addresses(writer, name, addresses)
            written, last, until = wanted, current, time.monotonic() + CUT_TIMEOUT_S / 2


def _write_addresses(writer: SetWriter, name: str, addresses: frozenset[str]) -> None:
    elements = [SetElement(ip_address(address).packed, CUT_TIMEOUT_S) for address in sorted(addresses)[:MAX_OWNERS]]
    for at in range(0, len(elements), MAX_ELEMENTS):
        some = elements[at : at + MAX_ELEMENTS]
        writer.write(
            {
                f"{name}_v{version}": [each for each in some if len(each.key) == size]
                for version, size in ((4, 4), (6, 16))
            }
        )


class SnapshotFollower:
    """The snapshot in force, opened in a thread, since opening one takes longer than a DNS answer may wait.

    `on_change` is awaited after another one was opened.
    """

    def __init__(self, state: Path, on_change: Callable[[], Awaitable[None]]) -> None:
        self._watch, self._on_change = SnapshotWatch(state), on_change
        self._news = asyncio.Event()
        self.view: LoadedSnapshot | None = None

    def look(self) -> None:
        """Look for a new snapshot now."""
        self._news.set()

    async def run(self) -> None:
        """Follow new snapshots until cancelled."""
        while True:
            view = await asyncio.to_thread(self._watch.open_if_new)
            if view is not None:
                self.view = view
                await self._on_change()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds_to_tick(TICK_S))
            self._news.clear()


@contextlib.asynccontextmanager
async def serve_gateway(settings: Settings, tasks: WatchedTasks) -> AsyncIterator[None]:
    """Keep the gateway in place inside the block. Raises OSError."""
    writer = SetWriter()
    admissions = AdmissionServer(settings.gateway_socket, writer)
    features = FeatureServices[GatewayCore](
        tuple(feature for feature in FEATURES if feature.gateway_services is not None), tasks, _services_of
    )
    follower = SnapshotFollower(settings.state, on_change=features.policy_changed)
    owners = AddressOwnerWriter(writer)

    async def restore() -> None:
        owners.restore()
        await admissions.restore()

    controller = GatewayController(settings, lambda: follower.view, writer, restore)
    events = EventSender(settings.event_socket, "gateway-0", "gateway", on_news=follower.look)
    core = GatewayCore(
        settings=settings,
        view=lambda: follower.view,
        guarded_tunnel=lambda: controller.guarded_tunnel,
        report=events.report_totals,
        writer=writer,
    )
    tasks.report_to(events.send)
    tasks.start("snapshots", follower.run, Area.GATEWAY)
    tasks.start("table", controller.run, Area.GATEWAY)
    tasks.start("admissions", admissions.sweep, Area.UPKEEP)
    tasks.start("socket", admissions.keep_listening, Area.GATEWAY)
    tasks.start("owners", owners.run, Area.GATEWAY)
    tasks.start("reports", events.run, Area.MINUTES)
    tasks.start(
        "traffic", partial(count_traffic, settings, lambda: follower.view, owners.neighbours, events.send), Area.MINUTES
    )
    tasks.start(
        "counters", partial(report_state, lambda: controller.is_in_place, lambda: tasks.errors.count, events), Area.LOG
    )
    tasks.start(
        "addresses", partial(keep_addresses, writer, lambda: controller.device_states, owners.neighbours), Area.GATEWAY
    )
    for each in features.followers(core):
        tasks.start(each.name, each.run, each.area)
    try:
        await take_over_leftovers(features, FEATURES)
        yield
    finally:
        await tasks.stop_all()
        await features.close()
        admissions.close()
        writer.close()


async def take_over_leftovers(services: FeatureServices[GatewayCore], features: Sequence[Feature]) -> None:
    """Have features run that left something when an earlier run was killed: the policy may not use them any more."""
    for feature in features:
        with contextlib.suppress(GatewayError, OSError, ValueError):  # whoever needs nftables reports what is wrong
            if await asyncio.to_thread(feature.gateway_leftovers):
                await services.policy_changed(feature.name)


def _services_of(feature: Feature, core: GatewayCore) -> Sequence[ControlService]:
    return feature.gateway_services(core) if feature.gateway_services is not None else ()


async def keep_gateway(settings: Settings) -> None:
    """Keep the gateway in place as a service of its own, until it is removed, a run with other settings begins, or a
    signal ends this.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tasks = WatchedTasks("gateway")
    tasks.errors.watch_loop()
    tasks.errors.watch_process()
    async with serve_gateway(settings, tasks):
        notify_systemd("READY=1")
        parts = {
            asyncio.create_task(each)
            for each in (wait_until_removed(settings), _wait_until_outdated(settings), _wait(ended))
        }
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in parts:
            part.cancel()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _wait_until_outdated(settings: Settings) -> None:
    """Feed systemd's watchdog, and return once the settings of another run are in force."""
    while True:
        notify_systemd("WATCHDOG=1")
        await next_tick(HEARTBEAT_INTERVAL_S)
        with contextlib.suppress(OSError, ValueError):
            if Settings.load(settings.state) != settings:
                return


async def report_state(is_in_place: Callable[[], bool], unexpected: Callable[[], int], events: EventSender) -> None:
    """Report a heartbeat once a second and the table's counters every few seconds, until cancelled."""
    for number in count():
        events.send(heartbeat("gateway", 0, time.time()))
        totals: dict[tuple[str, ...], float] = {("hedgerow_gateway_in_place",): float(is_in_place())}
        if number % COUNT_EVERY == 0 and is_in_place():
            with contextlib.suppress(GatewayError):
                table = await asyncio.to_thread(installed_table)
                totals |= table.levels(time.time()) if table is not None else {}
        totals[UNEXPECTED_METRIC, "gateway"] = float(unexpected())
        events.report_totals(totals)
        await next_tick(HEARTBEAT_INTERVAL_S)


async def wait_until_removed(settings: Settings) -> None:
    """Return once the gateway is no longer configured."""
    while settings.gateway_file.exists():
        await next_tick(REMOVAL_INTERVAL_S)
