"""The control process: follows the policy file and the lists, keeps the journal, serves the pages, publishes snapshots.

Workers do without it: they read the last snapshot and count what they could not report.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow.app.budgets import BudgetKeeper
from hedgerow.app.calendars import CalendarKeeper
from hedgerow.app.code_desk import CodeDesk
from hedgerow.app.discovery import Discovery
from hedgerow.app.dns_certificate import DnsCertificate
from hedgerow.app.files import write_atomically
from hedgerow.app.gateway_keeper import GatewayKeeper
from hedgerow.app.lists import ListKeeper
from hedgerow.app.notifier import notices_of, send_apart, watch
from hedgerow.app.policy_file import PolicyFile
from hedgerow.app.safe_names import SafeNamesWatch
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot, View
from hedgerow.app.time_control import RunningTime
from hedgerow.app.warner import Warner
from hedgerow.app.web_control import WebControl
from hedgerow.app.web_tls import WebTls
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.api.app import Parts, create_app, web_server
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDesk
from hedgerow.dashboards.policy_desk import PolicyDesk
from hedgerow.dashboards.reports import Report, weekly_report
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.changes import ChangeStore
from hedgerow.journal.codes import CodeStore
from hedgerow.journal.courier_server import CourierServer
from hedgerow.journal.ledger import Ledger
from hedgerow.journal.messages import CounterDelta, GaugeLevel, Message
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.read import Reader
from hedgerow.journal.record import Event, Recorder
from hedgerow.journal.retention import forget_decisions
from hedgerow.journal.store import open_journal
from hedgerow.journal.usage import UsageStore
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.load import load_policy
from hedgerow.policies.model import Activity, CodeTyped, ConductAccepted, Grant, Pause, Policy, Sitting, Spent
from hedgerow.policies.parties import retention_of
from hedgerow.proxy.authority import ensure_authority

log = logging.getLogger("hedgerow.control")

WATCH_S = 0.1
LISTS_EVERY_S = 1.0
FORGET_EVERY_S = 3600.0


class ControlProcess:
    """Everything that control holds; `run` serves until cancelled."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = time.time()
        self._engine = engine = open_journal(settings.journal)
        self.reader, self.ledger, self.recorder = Reader(engine), Ledger(engine), Recorder(engine)
        self.accounts = Accounts(AccountStore(engine))
        # Where a first policy is written: the place in which `hedgerow up` looks for one.
        self.desk = PolicyDesk(settings.policy or Path("hedgerow.yaml").absolute(), ChangeStore(engine), self._take_up)
        self.notices = NoticeDesk(
            Outbox(engine), AddressBook(settings.notices), lambda: self.policy_file.policy, send_apart, self._weekly_report,
            link=lambda: f"http://{self.web.reached_at('localhost')}/",
        )  # fmt: skip
        self.usage = UsageStore(engine)
        self.budgets = BudgetKeeper(self.usage)
        self._spent: tuple[Spent, ...] = ()
        self._publish_wanted = asyncio.Event()
        self.metrics = Metrics()
        self.lists = ListKeeper(settings.state)
        self.policy_file, self._serial = _last_good(settings)
        self.workers: list[dict[str, object]] = []
        self.view: View | None = None
        self._names: dict[str, str] = {}
        self._published: Path | None = None
        self.neighbours = Neighbours(lambda: None)
        self._publishing = asyncio.Lock()
        self._reload_wanted = True
        self._restarts: Counter[str] = Counter()
        self._renewals: Counter[str] = Counter()
        self._courier = CourierServer(settings.courier_socket)
        self.web, self.time = WebControl(self), RunningTime(self)
        self.tls = WebTls(settings, lambda: self.policy_file.policy.network)
        self._dns_certificate = DnsCertificate(settings, lambda: self.policy_file.policy.network)
        self.codes = CodeDesk(self, CodeStore(engine))
        self._warner = Warner(lambda: self.view, self.budgets.balances, lambda event: self._remember([event]))

    async def start(self) -> None:
        """Publishes the first snapshot; raises OSError, or CompileError where there is nothing to filter with."""
        ensure_authority(self.settings.authority)
        ensure_token(self.settings)
        await self._courier.start()
        await self._follow_policy()
        self._dns_certificate.issue_if_due()
        await self.lists.take_up(self.policy_file.policy, self._last_generation())
        await self.publish()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._want_reload)

    def _last_generation(self) -> Path | None:
        try:
            return Snapshot.load(self.settings.state).generation
        except (OSError, ValueError):
            return None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve_web())
            tasks.create_task(self._receive())
            tasks.create_task(self.recorder.run())
            tasks.create_task(self.neighbours.keep_fresh())
            tasks.create_task(self._keep_policy())
            tasks.create_task(self._keep_lists())
            tasks.create_task(self._publish_when_wanted())
            tasks.create_task(self._forget_in_time())
            tasks.create_task(self._fetch_lists())
            tasks.create_task(self._warner.run())
            tasks.create_task(CalendarKeeper(self.settings.calendars, lambda: self.policy_file.policy.calendars).run())
            tasks.create_task(self._watch_workers())
            tasks.create_task(self._dns_certificate.run())
            tasks.create_task(SafeNamesWatch(self.settings, lambda: self.policy_file.policy.network, self._remember).run())
            tasks.create_task(self.notices.run())
            tasks.create_task(watch(self.web.status, self.time.budgets, self.notices.tell))
            tasks.create_task(GatewayKeeper(self.settings, lambda: self.view).run())
            tasks.create_task(Discovery(self.reader, self._remember, self.neighbours, lambda: self.view, self._hear_names).run())

    async def close(self) -> None:
        await self._courier.close()
        await asyncio.to_thread(self.recorder.flush)
        await asyncio.to_thread(self.budgets.save)

    def _remember(self, messages: Sequence[Message | Event]) -> None:
        """For the journal, and for whom it concerns."""
        self.recorder.add(messages)
        self.notices.tell(notices_of(messages))

    def _weekly_report(self) -> Report:
        return weekly_report(self.reader, self.policy_file.policy, time.time())

    def _want_reload(self) -> None:
        self._reload_wanted = True

    async def _follow_policy(self) -> bool:
        """Reads the policy file if it is new or somebody asked; True where another policy is in force now."""
        if not (self._reload_wanted or self.policy_file.has_changed()):
            return False
        self._reload_wanted = False
        good = await self.policy_file.reload()
        self.metrics.add("hedgerow_policy_loads_total", ("success" if good else "failure",))
        return good

    async def _take_up(self, path: Path) -> None:
        """Puts the file that was just written into force; the first one is the run's policy from then on, also after a restart."""
        if self.settings.policy is None:
            self.settings = replace(self.settings, policy=path)
            await asyncio.to_thread(self.settings.save)
            self.policy_file.path = path
        self._reload_wanted = True
        await self._follow_policy()
        await self._publish_patiently()

    async def _keep_policy(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if await self._follow_policy():
                await self._publish_patiently()

    async def _publish_patiently(self) -> None:
        """A full disk is waited for; until then the last snapshot stays in force."""
        while True:
            try:
                return await self.publish()
            except OSError as error:
                log.error("The snapshot can't be written, the last one stays in force: %s", error)
                await asyncio.sleep(2)

    async def publish(self) -> None:
        """Puts policy, lists, grants and pauses as they are now into force; raises OSError where the disk fails.

        One at a time, so that snapshots are numbered in the order in which they hold.
        """
        async with self._publishing:
            await self._publish()

    async def _publish(self) -> None:
        # No new generation could be made at this start: the one of the last snapshot still filters.
        generation = self.lists.generation
        if generation is None:
            generation = Snapshot.load(self.settings.state).generation
        now = time.time()
        grants, pauses, sittings = await asyncio.to_thread(lambda: self._given(now))
        policy = self.policy_file.policy
        self._spent = self.budgets.spent(policy, now)
        self._serial += 1
        snapshot = Snapshot(self._serial, now, policy, generation, grants, pauses, self._spent, sittings, self._names_told(policy))
        self.view = View(snapshot)
        await asyncio.to_thread(snapshot.save, self.settings.state)
        log.info("snapshot %d published", snapshot.serial)
        if generation != self._published:
            # A worker may be opening the one before just now.
            await asyncio.to_thread(self.lists.prune, {generation, self._published})
            self._published = generation

    def _names_told(self, policy: Policy) -> dict[str, str]:
        wanted = {name for device in policy.devices.values() for name in device.hostnames}
        return {key: name for key, name in self._names.items() if name in wanted}

    def _hear_names(self, names: dict[str, str]) -> None:
        """What devices call themselves, by MAC and IP address. Workers are told where the policy speaks of such a name."""
        policy = self.policy_file.policy
        before, self._names = self._names_told(policy), names
        if self._names_told(policy) != before:
            self._publish_wanted.set()

    def _given(self, now: float) -> tuple[tuple[Grant, ...], tuple[Pause, ...], tuple[Sitting, ...]]:
        self.budgets.load_bonuses()
        return self.reader.grants(now), self.reader.pauses(now), self.usage.sittings(now)

    async def _count(self, used: list[Activity]) -> None:
        """Counts minutes. Where some budget ends because of them, the workers are told before it does."""
        if not self.budgets.record(used):
            return
        if self.budgets.spent(self.policy_file.policy, time.time()) != self._spent:
            self._publish_wanted.set()
        await asyncio.to_thread(self.budgets.save)

    async def _forget_in_time(self) -> None:
        """Once an hour: the minutes that no budget asks for, and decisions that the policy keeps for fewer days than others."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            people, profiles = retention_of(self.policy_file.policy)
            try:
                await asyncio.to_thread(self.usage.prune)
                await asyncio.to_thread(self.codes.prune)
                await asyncio.to_thread(self.notices.outbox.prune)
                await asyncio.to_thread(forget_decisions, self._engine, people, profiles, time.time())
            except DatabaseError as error:
                log.warning("Old entries of the journal can't be deleted: %s", error.orig)

    async def _publish_when_wanted(self) -> None:
        while True:
            await self._publish_wanted.wait()
            self._publish_wanted.clear()
            await self._publish_patiently()

    async def _keep_lists(self) -> None:
        """Compiles what changed; a new policy is in force with the old lists until its own are there."""
        while True:
            policy = self.policy_file.policy
            if self.lists.is_worth_compiling(policy) and await self.lists.compile(policy):
                await self._publish_patiently()
            await asyncio.sleep(LISTS_EVERY_S)

    async def _fetch_lists(self) -> None:
        while True:
            await self.lists.fetch_if_due(self.policy_file.policy)
            await asyncio.sleep(LISTS_EVERY_S)

    async def _receive(self) -> None:
        """What workers report: metrics are summed up, the rest goes to the recorder, which waits out a full disk."""
        async for delivery in self._courier.deliveries():
            kept = []
            used = []
            for message in delivery.messages:
                match message:
                    case CounterDelta(name, labels, value):
                        self.metrics.add(name, labels, value)
                    case GaugeLevel(name, labels, value):
                        self.metrics.set(name, labels, value, delivery.worker)
                    case Activity():
                        used.append(message)
                    case CodeTyped():
                        await self.codes.take(message)
                    case ConductAccepted():
                        await self.time.accept(message.sitting)
                    case _:
                        kept.append(message)
                        self._warner.seen(message.person, message.when)
            self._remember(kept)
            await self._count(used)
            if delivery.left:
                self.metrics.worker_left(delivery.worker)

    async def _watch_workers(self) -> None:
        while True:
            try:
                self.workers = json.loads(self.settings.workers_file.read_bytes())["workers"]
            except (OSError, ValueError, KeyError):
                self.workers = []
            restarts, renewals = Counter[str](), Counter[str]()
            for row in self.workers:
                restarts[str(row["role"])] += int(str(row["restarts"]))
                renewals[str(row["role"])] += int(str(row["renewals"]))
            for role, number in (renewals - self._renewals).items():
                self.metrics.add("hedgerow_worker_renewals_total", (role,), number)
            for role, number in (restarts - self._restarts).items():
                self.metrics.add("hedgerow_worker_restarts_total", (role,), number)
                self.recorder.add([Event(time.time(), "restart", role, f"{number} since the last look")])
            self._restarts, self._renewals = restarts, renewals
            await asyncio.sleep(1)

    async def _serve_web(self) -> None:
        token = self.settings.admin_token.read_text(encoding="ascii").strip()
        parts = Parts(self.reader, self.web, self.metrics, self.accounts, self.desk, token, self.time, self.codes, self.notices)
        server = web_server(create_app(parts), tls=self.tls)
        sockets = [listen(endpoint.host, endpoint.port) for endpoint in self.settings.web.every_family()]
        await server.serve(sockets=sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    listener.listen(128)
    return listener


def ensure_token(settings: Settings) -> None:
    """The secret by which the command line and scripts reach the pages; made once, for the owner's eyes only."""
    if not settings.admin_token.exists():
        write_atomically(settings.admin_token, secrets.token_urlsafe(32).encode())


def _last_good(settings: Settings) -> tuple[PolicyFile, int]:
    """Where to start from: the last snapshot of the same policy file, in case that is broken now; else the file.

    Raises PolicyError where neither serves.
    """
    try:
        snapshot = Snapshot.load(settings.state)
    except (OSError, ValueError):
        policy = load_policy(settings.policy, settings.calendars)
        return PolicyFile(settings.policy, policy, time.time(), settings.calendars), 0
    if snapshot.policy.path != (str(settings.policy) if settings.policy else None):
        policy = load_policy(settings.policy, settings.calendars)
        return PolicyFile(settings.policy, policy, time.time(), settings.calendars), snapshot.serial
    return PolicyFile(settings.policy, snapshot.policy, snapshot.published, settings.calendars), snapshot.serial
