"""Common parts of dns, gate and inspector processes: the newest snapshot, the clients, and the connection to control.

The code of `dns` and `proxy` gets callables from here: `client`, `decide`, `observe`, `ask`. It never sees files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping

from hedgerow.app.ipc import InheritedSockets
from hedgerow.app.resolv_conf import system_resolv_conf
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, SnapshotWatch
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.journal.event_sender import UNEXPECTED_METRIC, EventSender
from hedgerow.journal.messages import SNAPSHOT_LEVEL, DeviceSeen, GaugeLevel, ProtectionSeen, SiteSeen, heartbeat
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.activity import ActivityLog
from hedgerow.policies.decide import decide
from hedgerow.policies.feature_settings import WorkerReport
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Decision, Device, DeviceId, Observation, Request
from hedgerow.policies.privacy import observe
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.unlisted import is_worth_noting, site_to_ask_about
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick, seconds_to_tick
from hedgerow.watched_tasks import WatchedTasks

INTERVAL_S = 300.0
MAX_DEVICES = 65536
MAX_NOTED_HOSTS = 16384
PATIENCE_S = 5.0
_LOOPBACK = ("127.", "::1")  # never in the neighbour table


class SightingReporter:
    """Reports of sightings, each on a change and every few minutes."""

    def __init__(self, send: Callable[[DeviceSeen | ProtectionSeen], None]) -> None:
        self._send = send
        self._seen: dict[DeviceId, tuple[float, str]] = {}
        self._at_addresses: dict[str, float] = {}
        self._protected: dict[tuple[DeviceId, Protection], float] = {}

    def report_device(self, device: Device, ruleset: Ruleset, address: str, mac: str | None) -> None:
        """Report that a device was seen at an address.

        An address without a name counts as a device only if the neighbour table still has no MAC address for it some
        seconds later.
        """
        now = time.time()
        is_unidentified = mac is None and not device.known and not address.startswith(_LOOPBACK)
        if is_unidentified and now - self._first_seen(address, now) < PATIENCE_S:
            return
        last, last_address = self._seen.get(device.id, (0.0, ""))
        if now - last < INTERVAL_S and address == last_address:
            return
        if len(self._seen) >= MAX_DEVICES:
            self._seen.clear()
        self._seen[device.id] = (now, address)
        self._send(DeviceSeen(now, device.id, address, mac, device.person, ruleset.profile))

    def _first_seen(self, address: str, now: float) -> float:
        if len(self._at_addresses) >= MAX_DEVICES:
            self._at_addresses.clear()
        return self._at_addresses.setdefault(address, now)

    def report_protection(self, device: DeviceId, protection: Protection) -> None:
        """Report that a device used a protection."""
        now = time.time()
        if now - self._protected.get((device, protection), 0.0) < INTERVAL_S:
            return
        if len(self._protected) >= MAX_DEVICES:
            self._protected.clear()
        self._protected[device, protection] = now
        self._send(ProtectionSeen(now, device, protection))


class SiteReporter:
    """Reports of unknown sites that anybody asks for, each once per snapshot, without the device.

    They have no names, except those of sites that were closed as new, where the policy names whom to ask for their age.
    """

    def __init__(self, send: Callable[[SiteSeen], None]) -> None:
        self._send = send
        self._noted: set[str] = set()
        self._named: set[str] = set()

    def note(self, ruleset: Ruleset, catalogue: Catalogue, host: str) -> None:
        """Report the site of a canonical host, if nobody knows it and it is not in the table of those seen."""
        if host in self._noted:
            return
        if len(self._noted) >= MAX_NOTED_HOSTS:
            self._noted.clear()
        self._noted.add(host)
        sites = ruleset.sites
        if sites is None or not is_worth_noting(ruleset, catalogue, host):
            return
        site = sites.hash_of(host)
        if sites.first_day(site) is None:
            self._send(SiteSeen(site))

    def note_block(self, ruleset: Ruleset, catalogue: Catalogue, host: str, decision: Decision) -> None:
        """Report the name of a site that was closed as new, if others may be asked about it."""
        name = site_to_ask_about(ruleset, catalogue, host, decision)
        if not name or name in self._named or ruleset.sites is None:
            return
        if len(self._named) >= MAX_NOTED_HOSTS:
            self._named.clear()
        self._named.add(name)
        self._send(SiteSeen(ruleset.sites.hash_of(name), name))

    def forget(self) -> None:
        self._noted.clear()
        self._named.clear()


log = logging.getLogger("hedgerow.worker")

DNS_ROLE = "dns"
TICK_S = 1.0
COUNTERS_INTERVAL_S = 1.0
CLIENT_CACHE_S = 10.0  # an address may go to another device
SYSTEM_CHECK_INTERVAL_S = 2.0


class Worker:
    """The state of one worker process.

    `on_swap` is called with a new snapshot, `on_forget` when clients may have other rulesets.
    """

    def __init__(
        self,
        role: str,
        index: int,
        settings: Settings,
        view: LoadedSnapshot,
        watch: SnapshotWatch,
        sockets: InheritedSockets,
        tasks: WatchedTasks,
    ) -> None:
        self.role = role
        self.sockets = sockets
        self.tasks = tasks
        self.index = index
        self.settings = settings
        self.view = view
        self._news = asyncio.Event()
        self._events = EventSender(settings.event_socket, f"{role}-{index}", role, on_news=self._news.set)
        self.send = self._events.send
        self.sightings = SightingReporter(self.send)
        self._activity = ActivityLog(self.send)
        self._sites = SiteReporter(self.send)
        self.neighbours = Neighbours(self._forget)
        self.on_swap: Callable[[LoadedSnapshot], None] = lambda _view: None
        self.on_forget: Callable[[], None] = lambda: None
        self.counters: Callable[[], Mapping[tuple[str, ...], float]] = dict
        self._watch = watch
        self._is_swapped = True  # False until `on_swap` has taken the newest snapshot
        self._clients: dict[str, tuple[Device, Ruleset] | None] = {}
        self._horizon = math.inf
        self._last_tick = time.time()
        self._system_servers = system_resolv_conf(settings.resolv_conf)

    def client(self, address: str) -> tuple[Device, Ruleset] | None:
        """Return the device at `address` with its current ruleset; None for an address outside the network."""
        now = time.time()
        if now >= self._horizon:
            self._forget()
        known = self._clients.get(address, self)
        if not isinstance(known, Worker):
            return known
        device = self.view.rulesets.devices.find(address, self.neighbours.mac_of(address))
        found = None
        if device is not None:
            ruleset = self.view.rulesets.ruleset(device, now)
            if ruleset.until is not None:
                self._horizon = min(self._horizon, ruleset.until)
            found = (device, ruleset)
            self.sightings.report_device(device, ruleset, address, self.neighbours.mac_of(address))
            if self.role == DNS_ROLE:
                self.sightings.report_protection(device.id, Protection.DNS)
        if len(self._clients) >= 65536:
            self._clients.clear()
        self._clients[address] = found
        return found

    def client_of_id(self, client_id: str) -> tuple[Device, Ruleset] | None:
        """Return the device with this id in encrypted DNS and its current ruleset; None if the policy has none."""
        return self._known_client(self.view.rulesets.devices.find_client(client_id))

    def client_of_mac(self, mac: str) -> tuple[Device, Ruleset] | None:
        """Return the device with the MAC address that a forwarder added, and its current ruleset."""
        found = self._known_client(self.view.rulesets.devices.find_mac(mac))
        if found is not None:
            self.sightings.report_device(*found, "", mac)
        return found

    def client_of_user(self, user: str) -> tuple[Device, Ruleset] | None:
        """Return the device that signs in to the proxy as `user`, and its current ruleset; None if the
        policy has none.
        """
        return self._known_client(self.view.rulesets.devices.find_user(user))

    def _known_client(self, device: Device | None) -> tuple[Device, Ruleset] | None:
        if device is None:
            return None
        ruleset = self.view.rulesets.ruleset(device, time.time())
        if ruleset.until is not None:
            self._horizon = min(self._horizon, ruleset.until)
        if self.role == DNS_ROLE:
            self.sightings.report_protection(device.id, Protection.DNS)
        return device, ruleset

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        decision = decide(ruleset, self.view.catalogue, request)
        if ruleset.sites is not None:
            self._sites.note(ruleset, self.view.catalogue, request.host)
            if WorkerReport.NEW_SITES in self.view.policy.reports:
                self._sites.note_block(ruleset, self.view.catalogue, request.host, decision)
        return decision

    def observe(self, ruleset: Ruleset, request: Request, decision: Decision, count: int = 1) -> None:
        """Report a decision to control as far as the person's privacy permits, and the minute of use if there is a
        budget.
        """
        now = time.time()
        self._activity.note(ruleset, self.view.catalogue, request, decision, now)
        seen = observe(ruleset, request, decision, now, count)
        if seen is not None:
            self.send(seen)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s", _explanation(seen))

    def use(self, ruleset: Ruleset, request: Request, octets: int) -> None:
        """Count an open connection that transfers data as use. `octets` as in `is_counted`."""
        self._activity.note(ruleset, self.view.catalogue, request, ruleset.default, time.time(), octets)

    def _report_snapshot(self) -> None:
        self.send(GaugeLevel(SNAPSHOT_LEVEL, (), float(self.view.snapshot.serial)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow snapshots and report to control inside the block."""
        self._report_snapshot()
        self.tasks.report_to(self.send)
        self.tasks.start("reports", self._events.run, Area.MINUTES)
        self.tasks.start("neighbours", self.neighbours.keep_fresh, Area.DEVICES)
        self.tasks.start("snapshots", self._follow_snapshots, Area.RULES)
        self.tasks.start("counters", self._report_counters, Area.LOG)
        self.tasks.start("system", self._follow_system, Area.RULES)
        try:
            yield
        finally:
            await self.tasks.stop("neighbours", "snapshots", "counters", "system")
            self._events.report_totals(_totals(self))  # sent when the last task is cancelled
            await self.tasks.stop("reports")

    async def _follow_snapshots(self) -> None:
        forgotten = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds_to_tick(TICK_S))
            self._news.clear()
            now = time.time()
            view = self._watch.open_if_new()
            # it is confined to what was there when it started; another process may read the rest
            if self._watch.is_denied:
                log.warning("a new process is needed for the snapshot")
                self._watch.is_denied = False
                os.kill(os.getpid(), signal.SIGTERM)
            if view is not None or not self._is_swapped:
                view = self.view = view or self.view
                self._is_swapped = False  # if what follows fails, the task starts again, and then it as well
                self._sites.forget()
                self._forget(tell=False)
                self.on_swap(view)
                self._is_swapped = True
                self._report_snapshot()
                log.info("snapshot %d in force, lists %s", view.snapshot.serial, view.catalogue.version)
            elif now >= self._horizon or now < self._last_tick - 1 or time.monotonic() - forgotten > CLIENT_CACHE_S:
                self._forget()
                forgotten = time.monotonic()
            self._last_tick = now

    def _forget(self, tell: bool = True) -> None:
        self._clients.clear()
        self._horizon = math.inf
        if tell:
            self.on_forget()

    async def _follow_system(self) -> None:
        """Open other upstreams when the system names others, such as after boot or in another network."""
        while True:
            await next_tick(SYSTEM_CHECK_INTERVAL_S)
            servers = system_resolv_conf(self.settings.resolv_conf)
            if servers != self._system_servers:
                self._system_servers = servers
                self._forget(tell=False)
                self.on_swap(self.view)
                log.info("the system's resolvers have changed")

    async def _report_counters(self) -> None:
        while True:
            await next_tick(COUNTERS_INTERVAL_S)
            self._events.report_totals(_totals(self))
            self.send(heartbeat(self.role, self.index, time.time()))


def _totals(worker: Worker) -> Mapping[tuple[str, ...], float]:
    return {**worker.counters(), (UNEXPECTED_METRIC, worker.role): float(worker.tasks.errors.count)}


def _explanation(seen: Observation) -> str:
    """Return a decision as a line of the log, reduced to the detail that the person's privacy allows."""
    site = seen.url or seen.host or "(private)"
    because = " ".join(filter(None, (seen.reason.value, seen.what, f"by the rule {seen.rule}" if seen.rule else "")))
    times = f", {seen.count} times" if seen.count > 1 else ""
    return (
        f"{seen.device} ({seen.person or seen.profile}) {seen.kind.value} {site}: {seen.verdict.value},"
        f" {because}{times}"
    )
