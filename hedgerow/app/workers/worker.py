"""What dns, gate and inspector processes have in common: the newest view, who a client is, and the line to control.

A worker's own code gets callables from here and never sees files: `client`, `decide`, `observe`, `ask`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping

from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, SnapshotWatch
from hedgerow.app.workers.upstreams import system_resolv_conf
from hedgerow.journal.event_sender import EventSender
from hedgerow.journal.messages import DeviceSeen
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.activity import ActivityLog
from hedgerow.policies.decide import decide
from hedgerow.policies.model import AccessRequest, CodeEntered, ConductAccepted, Decision, Device, DeviceId, Request
from hedgerow.policies.privacy import observe
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger("hedgerow.worker")

TICK_S = 0.1
COUNTERS_INTERVAL_S = 1.0
SEEN_INTERVAL_S = 300.0
CLIENT_CACHE_S = 10.0  # an address may go to another device
SYSTEM_CHECK_INTERVAL_S = 2.0


class Worker:
    """One worker process's share. `on_swap` is told of a new view, `on_forget` that clients may have other rulesets from now on."""

    def __init__(self, role: str, index: int, settings: Settings, view: LoadedSnapshot, watch: SnapshotWatch) -> None:
        self.role = role
        self.index = index
        self.settings = settings
        self.view = view
        self.courier = EventSender(settings.event_socket, f"{role}-{index}", role)
        self._activity = ActivityLog(self.courier.send)
        self.neighbours = Neighbours(self._forget)
        self.on_swap: Callable[[LoadedSnapshot], None] = lambda _view: None
        self.on_forget: Callable[[], None] = lambda: None
        self.counters: Callable[[], Mapping[tuple[str, ...], float]] = dict
        self._watch = watch
        self._clients: dict[str, tuple[Device, Ruleset] | None] = {}
        self._horizon = math.inf
        self._seen: dict[DeviceId, tuple[float, str]] = {}
        self._last_tick = time.time()
        self._system_servers = system_resolv_conf()

    def client(self, address: str) -> tuple[Device, Ruleset] | None:
        """The device at `address` and what holds for it now; None for an address that gets no service."""
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
            self._report_seen(now, device, ruleset, address, self.neighbours.mac_of(address))
        if len(self._clients) >= 65536:
            self._clients.clear()
        self._clients[address] = found
        return found

    def client_of_id(self, client_id: str) -> tuple[Device, Ruleset] | None:
        """The device that calls itself so over encrypted DNS, and what holds for it now; None where the policy names none."""
        return self._known_client(self.view.rulesets.devices.find_client(client_id))

    def client_of_mac(self, mac: str) -> tuple[Device, Ruleset] | None:
        """The device for which a forwarder asks, by its MAC address, and what holds for it now."""
        found = self._known_client(self.view.rulesets.devices.find_mac(mac))
        if found is not None:
            self._report_seen(time.time(), *found, "", mac)
        return found

    def client_of_user(self, user: str) -> tuple[Device, Ruleset] | None:
        """The device that signs in to the proxy as `user`, and what holds for it now; None where the policy names none."""
        return self._known_client(self.view.rulesets.devices.find_user(user))

    def _known_client(self, device: Device | None) -> tuple[Device, Ruleset] | None:
        if device is None:
            return None
        ruleset = self.view.rulesets.ruleset(device, time.time())
        if ruleset.until is not None:
            self._horizon = min(self._horizon, ruleset.until)
        return device, ruleset

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        return decide(ruleset, self.view.catalogue, request)

    def observe(self, ruleset: Ruleset, request: Request, decision: Decision, count: int = 1) -> None:
        """Sends on what the person's privacy lets through, and of a budget the minute that is used."""
        now = time.time()
        self._activity.note(ruleset, self.view.catalogue, request, decision, now)
        seen = observe(ruleset, request, decision, now, count)
        if seen is not None:
            self.courier.send(seen)

    def use(self, ruleset: Ruleset, request: Request) -> None:
        """A tunnel goes on moving data."""
        self._activity.note(ruleset, self.view.catalogue, request, ruleset.default, time.time())

    def ask(self, request: AccessRequest) -> None:
        self.courier.send(request)

    def accept(self, accepted: ConductAccepted) -> None:
        self.courier.send(accepted)

    def type_code(self, typed: CodeEntered) -> None:
        self.courier.send(typed)

    async def run(self) -> None:
        """Keeps the view fresh and control informed, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.courier.run())
            tasks.create_task(self.neighbours.keep_fresh())
            tasks.create_task(self._tick_loop())
            tasks.create_task(self._report_counters())
            tasks.create_task(self._follow_system())

    async def _tick_loop(self) -> None:
        forgotten = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.time()
            view = self._watch.open_if_new()
            if view is not None:
                self.view = view
                self._forget(tell=False)
                self.on_swap(view)
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
        """Opens other upstreams when the system names others: at boot it may have had none yet, and it may join another network."""
        while True:
            await asyncio.sleep(SYSTEM_CHECK_INTERVAL_S)
            servers = system_resolv_conf()
            if servers != self._system_servers:
                self._system_servers = servers
                self._forget(tell=False)
                self.on_swap(self.view)
                log.info("the system names other resolvers")

    async def _report_counters(self) -> None:
        while True:
            await asyncio.sleep(COUNTERS_INTERVAL_S)
            self.courier.report_totals(self.counters())

    def _report_seen(self, now: float, device: Device, ruleset: Ruleset, address: str, mac: str | None) -> None:
        last, last_address = self._seen.get(device.id, (0.0, ""))
        if now - last < SEEN_INTERVAL_S and address == last_address:
            return
        if len(self._seen) >= 65536:
            self._seen.clear()
        self._seen[device.id] = (now, address)
        self.courier.send(DeviceSeen(now, device.id, address, mac, device.person, ruleset.profile))
