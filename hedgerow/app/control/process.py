"""The control process: follows the policy file and the lists, writes the journal, serves the web pages, publishes snapshots.

Workers run without it: they read the last snapshot, and count the events that they could not report.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Sequence
from functools import partial

from starlette.types import ASGIApp

from hedgerow.app.control.codes import CodeService, VoucherService
from hedgerow.app.control.counter import CounterService
from hedgerow.app.control.devices.discovery import DeviceDiscovery
from hedgerow.app.control.health import SnapshotRepair, WorkerMonitor, health_of_run
from hedgerow.app.control.notices.event_notices import event_notices, likely_finder, send_in_subprocess, watch_status
from hedgerow.app.control.organisation import OrganisationFollower
from hedgerow.app.control.policy_follower import PolicyFollower
from hedgerow.app.control.services import if_possible, load_later, make_token, prune_hourly, report_of_week
from hedgerow.app.control.snapshots.budgets import EndingNotifier
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.control.snapshots.remembered_sites import SiteMemory
from hedgerow.app.control.store_follower import AuthorityFollower, StoreFollower
from hedgerow.app.control.time import TimeService
from hedgerow.app.control.tunnel import TunnelService, TunnelWatch
from hedgerow.app.control.upkeep.calendars import CalendarUpdater
from hedgerow.app.control.upkeep.certificates import DnsCertificateIssuer, WebCertificates
from hedgerow.app.control.upkeep.daily_backups import DailyBackups
from hedgerow.app.control.upkeep.journal_setup import JournalWatch, make_recorder, place_of
from hedgerow.app.control.upkeep.safe_search import SafeSearchMonitor
from hedgerow.app.control.web import WebControl
from hedgerow.app.control.worker_messages import ProcessReports, WorkerMessages
from hedgerow.app.feature_services import FeatureServices
from hedgerow.app.ipc import InheritedSockets, StartProblem
from hedgerow.app.resolv_conf import ResolvConfCopy
from hedgerow.app.settings import Settings
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.deferred_app import DeferredApp
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDispatcher
from hedgerow.dashboards.server import listen_locally, web_server
from hedgerow.features import FEATURES
from hedgerow.features.contract import ControlService, Core, extensions_of
from hedgerow.files import error_text
from hedgerow.journal.access_store import CodeStore, VoucherStore
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.counter import CounterStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.messages import TUNNEL_LEVEL, DeviceSeen, SiteSeen, WorkerMessage
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import PersonalDataStore
from hedgerow.journal.recorder import SystemEvent
from hedgerow.journal.retention import forget_decisions
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.cafe import ConductAccepted
from hedgerow.policies.effective_users import retention_days
from hedgerow.policies.model import AccessRequest, CodeEntered, Observation
from hedgerow.policies.remembered import PageRecognised
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, ensure_ca
from hedgerow.sockets import SocketPath, bind_datagrams, wait_until_removed
from hedgerow.task_state import Area
from hedgerow.watched_tasks import WatchedTasks

log = logging.getLogger("hedgerow.control")

LIST_CHECK_INTERVAL_S = 1.0


class ControlProcess:
    """The parts of control, composed. `services` are those that run until the process ends."""

    def __init__(self, settings: Settings, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
        self.settings = settings
        self._sockets = sockets
        self.serving = asyncio.Event()
        """Set once the web pages answer."""
        self._token = make_token(settings.admin_token)
        self._store = store = open_journal(place_of(settings))
        self._publisher = SnapshotPublisher(settings, store, sockets.take_local())
        self._repair = SnapshotRepair(self._publisher)
        self.metrics = Metrics(*(metric for feature in FEATURES for metric in feature.metrics()))
        self._features = FeatureServices[Core](FEATURES, tasks, lambda feature, core: feature.services(core))
        self.recorder = make_recorder(store, settings, self._features.copy)
        self.accounts = Accounts(AccountStore(store))
        self._follower = follower = PolicyFollower(
            settings,
            store=store,
            publisher=self._publisher,
            recorder=self.recorder,
            metrics=self.metrics,
            prepare=lambda: self._features.prepare(self._core),
        )
        self.editor, self.shared = follower.editor, follower.shared
        self.notices = NoticeDispatcher(
            Outbox(store), AddressBook(settings.notices), lambda: self._publisher.policy, send_in_subprocess,
            lambda reader: report_of_week(self._publisher, reader), link=lambda: f"http://{self.web.reached_at('127.0.0.1')}/",
            open_requests=lambda: self._publisher.reader.requests(),
        )  # fmt: skip
        self._journal = JournalWatch(settings.journal, lambda: self.recorder.is_damaged)
        self._backups = DailyBackups(settings, lambda: follower.settings.policy, self._journal.restart)
        self.kept = DataExport(PersonalDataStore(store), self.recorder, lambda: self._publisher.policy, on_erased=self._backups.forget)
        self._find_likely = likely_finder(self._publisher.reader, lambda: self._publisher.policy)
        self.neighbours = Neighbours(lambda: None)
        self.workers = WorkerMonitor(settings.workers_files, self.metrics, self.recorder, tasks)
        self._events = EventReceiver(settings.event_socket)
        self._reports = ProcessReports(self._publisher, self._repair, self.metrics, self.workers.tasks)
        self._messages = WorkerMessages(self._events, services=self._all_services, record=self._remember, end=self._reports.end)
        self._own_services: tuple[ControlService, ...] = ()
        self.tls = WebCertificates(settings, lambda: self._publisher.policy.network)
        counter = CounterService(self._publisher, CounterStore(store), self.accounts)
        self.web = WebControl(
            settings, self._publisher, self.workers, self.recorder, self.neighbours, self.tls, counter, self._features.status
        )
        self.time = TimeService(self._publisher, counter)
        self.tunnel = TunnelService(settings, lambda: self._publisher.policy)
        self.levels = OrganisationFollower(
            settings.state, store, lambda: self._publisher.policy_file.path, self.web.status, lambda: self._publisher.policy,
            lambda: sum(each.person is None for each in self.time.sessions()), follower.request,
        )  # fmt: skip
        self._publisher.policy_file.more_problems = lambda: self.shared.current_problems() + self.levels.current_problems()
        self._dns_certificate = DnsCertificateIssuer(settings, lambda: self._publisher.policy.network)
        self.codes = CodeService(self._publisher, self.web, self.time, self.recorder, CodeStore(store), counter)
        self.sites = SiteMemory(self._publisher.sites, self.web.is_unlisted, self._publisher.request)
        self.vouchers = VoucherService(self._publisher, self.time, self.recorder, VoucherStore(store), counter)
        self._web_sockets: list[socket.socket] = []
        self._app = DeferredApp(self._load_app, lambda: health_of_run(self.workers, self._publisher))
        self._ending_notifier = EndingNotifier(
            lambda: self._publisher.view, self._publisher.budgets.balances, lambda event: self._remember([event])
        )
        self._core = Core(
            settings=settings,
            snapshots=self._publisher,
            store=store,
            reader=self._publisher.reader,
            recorder=self.recorder,
            metrics=self.metrics,
            control=self.web,
            times=self.time,
            editor=self.editor,
            notify=self.notices.enqueue,
        )

    async def start(self) -> None:
        """Publish the first snapshot.

        Raises OSError, CompileError if there are no lists to filter with, and StartProblem for an unusable CA.
        """
        try:
            ensure_ca(self.settings.authority)
        except (CertificateAuthorityError, OSError) as error:
            raise StartProblem(f"can't use the certificate authority: {error_text(error)}") from error
        await self._events.start()
        await self._follower.follow()
        self._dns_certificate.issue_if_due()
        await self._publisher.lists.load_first_generation(self._publisher.policy, self._publisher.last_generation())
        await self._publisher.publish_first()
        for endpoint in self.settings.web.every_family():
            bound = self._sockets.take(endpoint, socket.SOCK_STREAM) or endpoint.bind(socket.SOCK_STREAM)
            bound.listen(128)
            self._web_sockets.append(bound)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._follower.request)

    def services(self) -> tuple[ControlService, ...]:
        """Return the parts that run as long as this process does, each of which may fail without the others."""
        self._own_services = self._own_services or self._make_services()
        return self._own_services

    def _make_services(self) -> tuple[ControlService, ...]:
        publisher, settings, view = self._publisher, self.settings, lambda: self._publisher.view
        calendars = CalendarUpdater(settings.calendars, lambda: publisher.policy.calendars)
        followed = StoreFollower(self._store, publisher, self.accounts, self.shared, self.levels)
        names = SafeSearchMonitor(settings, lambda: publisher.policy.network, self._remember)
        discovery = DeviceDiscovery(publisher.reader, self._remember, self.neighbours, view, publisher.update_host_names)
        new_sites = partial(publisher.sites_seen.run, lambda: publisher.policy, publisher.request)
        watch = partial(watch_status, self.web.status, self.time.budgets, self.notices.enqueue)
        return (
            ControlService(
                name="pages",
                run=self._serve_web,
                area=Area.PAGES,
                handles={
                    CodeEntered: lambda _batch, entered: if_possible(self.codes.take(entered)),
                    ConductAccepted: lambda _batch, accepted: if_possible(self.time.accept(accepted.session)),
                },
                prune=self._prune_access,
            ),
            ControlService(
                name="messages",
                run=self._messages.run,
                area=Area.MINUTES,
                handles=self._reports.handles,
                prune=lambda _now: asyncio.to_thread(publisher.usage.prune),
            ),
            ControlService(name="connections", run=self._events.keep_listening, area=Area.MINUTES),
            ControlService(name="journal", run=self.recorder.run, area=Area.LOG, prune=self._prune_decisions),
            ControlService(name="journal check", run=self._journal.run, area=Area.UPKEEP),
            ControlService(name="neighbours", run=self.neighbours.keep_fresh, area=Area.DEVICES),
            ControlService(name="policy", run=self._follower.run, area=Area.RULES),
            ControlService(
                name="snapshots",
                run=publisher.publish_on_request,
                area=Area.RULES,
                handles={PageRecognised: lambda _batch, page: self.sites.take(page)},
                prune=lambda _now: self.sites.prune(),
            ),
            ControlService(name="snapshot check", run=self._repair.run, area=Area.RULES),
            ControlService(name="compiling", run=self._compile_lists, area=Area.LISTS),
            ControlService(name="downloads", run=self._fetch_lists, area=Area.LISTS),
            ControlService(name="leases", run=publisher.leases.run, area=Area.DEVICES),
            ControlService(
                name="new sites",
                run=new_sites,
                area=Area.RULES,
                handles={SiteSeen: lambda _batch, seen: publisher.sites_seen.note(seen.site)},
            ),
            ControlService(name="expiry", run=partial(prune_hourly, self._all_services), area=Area.UPKEEP),
            ControlService(
                name="warnings",
                run=self._ending_notifier.run,
                area=Area.NOTICES,
                handles=dict.fromkeys((Observation, AccessRequest, DeviceSeen), self._ending_notifier.take),
            ),
            ControlService(name="calendars", run=calendars.run, area=Area.RULES),
            ControlService(name="backups", run=self._backups.run, area=Area.UPKEEP),
            ControlService(name="store", run=followed.run, area=Area.MACHINES, may_end=True),
            ControlService(name="shared policy", run=self.shared.run, area=Area.MACHINES),
            ControlService(name="organisation", run=self.levels.run, area=Area.MACHINES),
            ControlService(name="authority", run=AuthorityFollower(settings, self._store).run, area=Area.MACHINES, may_end=True),
            ControlService(name="processes", run=self.workers.run, area=Area.UPKEEP),
            ControlService(name="certificates", run=self._dns_certificate.run, area=Area.CONNECTIONS),
            ControlService(name="resolv.conf", run=ResolvConfCopy(settings.resolv_conf).run, area=Area.CONNECTIONS),
            ControlService(name="safe search", run=names.run, area=Area.RULES),
            ControlService(
                name="notices",
                run=self.notices.run,
                area=Area.NOTICES,
                prune=lambda _now: asyncio.to_thread(self.notices.outbox.prune),
            ),
            ControlService(
                name="tunnel",
                run=TunnelWatch(self.tunnel, view, self.notices.enqueue).run,
                area=Area.TUNNEL,
                handles={TUNNEL_LEVEL: lambda _batch, level: self.tunnel.note(level.labels[0], level.labels[1], level.value)},
            ),
            ControlService(name="status", run=watch, area=Area.NOTICES),
            ControlService(name="discovery", run=discovery.run, area=Area.DEVICES),
            *self._features.followers(self._core),
        )

    async def close(self) -> None:
        await self._events.close()
        await asyncio.to_thread(self._publisher.budgets.save)
        self.recorder.add(self._publisher.budgets.unsaved)
        await asyncio.to_thread(self.recorder.flush)
        await asyncio.to_thread(self.recorder.put_aside)
        await self._features.close()
        await asyncio.to_thread(self._publisher.sites_seen.prepare, self._publisher.policy)

    def _remember(self, messages: Sequence[WorkerMessage | SystemEvent]) -> None:
        """Add messages to the journal and send the notices for them."""
        self.recorder.add(messages)
        self.notices.enqueue(event_notices(messages, self._publisher.policy, self._find_likely))

    async def _compile_lists(self) -> None:
        """Compile changed lists. A new policy is in force with the old lists until its own are compiled."""
        while True:
            policy = self._publisher.policy
            if self._publisher.lists.is_worth_compiling(policy) and await self._publisher.lists.compile(policy):
                await self._publisher.publish_with_retry()
            await asyncio.sleep(LIST_CHECK_INTERVAL_S)

    async def _fetch_lists(self) -> None:
        while True:
            policy = self._publisher.policy
            await self._publisher.lists.bundled.take(self.levels.seen)
            if policy.network.bundle is None or not policy.network.bundle.lists or self.levels.has_looked:  # its compiled lists come first
                await self._publisher.lists.fetch_if_due(policy)
            await asyncio.sleep(LIST_CHECK_INTERVAL_S)

    def _all_services(self) -> tuple[ControlService, ...]:
        return (*self._own_services, *self._features.made)

    async def _prune_access(self, _now: float) -> None:
        await asyncio.to_thread(self.codes.prune)
        await asyncio.to_thread(self.vouchers.prune)

    async def _prune_decisions(self, now: float) -> None:
        people, profiles = retention_days(self._publisher.policy)
        await asyncio.to_thread(forget_decisions, self._store, people, profiles, now)

    async def _serve_web(self) -> None:
        local, relay = self.settings.control_socket, self.settings.pages_socket
        server = web_server(
            self._app, tls=self.tls, client_of=self.web.client_at, person_of=self.accounts.person_of,
            unix_socket=listen_locally(local), relay_socket=bind_datagrams(relay), on_listening=self.serving.set,
        )  # fmt: skip
        places = [SocketPath.of(local), SocketPath.of(relay)]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[each.dup() for each in self._web_sockets]))
                tasks.create_task(wait_until_removed(places))
                if self.settings.footprint.loads_pages_early:
                    tasks.create_task(load_later(self._app))
        finally:
            server.stop_listening()

    def _load_app(self) -> ASGIApp:
        """Return the web application, ready for its first request. It is imported here, since it may not be needed for long."""
        from hedgerow.dashboards.app import create_app
        from hedgerow.dashboards.pages.context import PageContext

        context = PageContext(
            reader=self._publisher.reader,
            control=self.web,
            accounts=self.accounts,
            editor=self.editor,
            data_export=self.kept,
            metrics=self.metrics,
            time=self.time,
            codes=self.codes,
            vouchers=self.vouchers,
            notices=self.notices,
            request_access=lambda asked: self._remember([asked]),
            sites=self.sites,
            tunnel=self.tunnel,
            leases=self._publisher.leases,
            extensions=extensions_of(FEATURES),
        )
        app = create_app(context, self._token)
        context.renderer.warm()
        gc.freeze()  # it stays
        return app
