"""The parts of control, and what each is made of."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from hedgerow.app.bundles import LatestBundle
from hedgerow.app.control.access_rule import AccessRule, NoRule
from hedgerow.app.control.codes import CodeService
from hedgerow.app.control.health import SnapshotRepair, WorkerMonitor
from hedgerow.app.control.notices.event_notices import FindLikely, event_notices, likely_finder, send_in_subprocess
from hedgerow.app.control.policy_follower import PolicyFollower
from hedgerow.app.control.sessions import SharedDeviceSessions
from hedgerow.app.control.snapshots.policy_of_today import Growth
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.control.snapshots.remembered_sites import SiteMemory
from hedgerow.app.control.time import TimeService
from hedgerow.app.control.upkeep.certificates import DnsCertificateIssuer, WebCertificates
from hedgerow.app.control.upkeep.daily_backups import DailyBackups
from hedgerow.app.control.upkeep.journal_setup import JournalWatch, make_recorder, place_of
from hedgerow.app.control.web import WebControl
from hedgerow.app.control.worker_messages import ProcessReports
from hedgerow.app.feature_services import FeatureServices
from hedgerow.app.ipc import InheritedSockets
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.actions.operations import SessionControl
from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDispatcher, OutgoingMessage
from hedgerow.features import FEATURES
from hedgerow.features.contract import Core, Feature
from hedgerow.journal.access_store import CodeStore
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.messages import WorkerMessage
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import PersonalDataStore
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.store import Store
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.model import Policy
from hedgerow.watched_tasks import WatchedTasks

if TYPE_CHECKING:
    from hedgerow.dashboards.push import NoticeButton
    from hedgerow.dashboards.reports import Report
    from hedgerow.dashboards.words.languages import Language


class Parts:
    """The parts of control. Each is made when it is first asked for, from the parts that it is given here.

    Parts that need each other get a function that asks for the other one later.
    """

    def __init__(self, settings: Settings, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
        self.settings, self.sockets, self.tasks = settings, sockets, tasks
        self.metrics = Metrics(*(metric for feature in FEATURES for metric in feature.metrics()))
        self.features = FeatureServices[Core](FEATURES, tasks, make=lambda feature, core: feature.services(core))
        self.neighbours = Neighbours(lambda: None)
        self.events = EventReceiver(settings.event_socket)
        self.bundle = LatestBundle()
        self._no_rule = NoRule()

    def policy(self) -> Policy:
        """Return the policy in force."""
        return self.publisher.policy

    def view(self) -> LoadedSnapshot | None:
        """Return the snapshot in force, or None before the first."""
        return self.publisher.view

    def remember(self, messages: Sequence[WorkerMessage | SystemEvent]) -> None:
        """Add messages to the journal and send the notices for them."""
        self.recorder.add(messages)
        self.notices.enqueue(event_notices(messages, self.policy(), self.find_likely))

    @cached_property
    def core(self) -> Core:
        return Core(
            settings=self.settings,
            snapshots=self.publisher,
            store=self.store,
            reader=self.publisher.reader,
            recorder=self.recorder,
            metrics=self.metrics,
            control=self.web,
            times=self.time,
            editor=self.follower.editor,
            accounts=self.accounts,
            notify=self.notices.enqueue,
            reload_policy=self.follower.request,
            bundle=self.bundle,
            own_answer=lambda: self.follower.shared.answer,
            erase=self.data_export.erase,
        )

    # The journal

    @cached_property
    def store(self) -> Store:
        return open_journal(place_of(self.settings))

    @cached_property
    def recorder(self) -> Recorder:
        return make_recorder(
            self.store,
            self.settings,
            copy_to=self.features.copy,
            is_named=lambda device: device in self.policy().devices,
        )

    @cached_property
    def journal(self) -> JournalWatch:
        return JournalWatch(self.settings.journal, is_damaged=lambda: self.recorder.is_damaged)

    @cached_property
    def backups(self) -> DailyBackups:
        return DailyBackups(self.settings, policy=lambda: self.follower.settings.policy, on_damage=self.journal.restart)

    @cached_property
    def data_export(self) -> DataExport:
        return DataExport(
            PersonalDataStore(self.store), self.recorder, policy=self.policy, on_erased=self.backups.forget
        )

    @cached_property
    def zygote(self) -> socket.socket | None:
        return self.sockets.take_local()

    # The policy and its snapshots

    @cached_property
    def publisher(self) -> SnapshotPublisher:
        return SnapshotPublisher(
            self.settings,
            self.store,
            zygote=self.zygote,
            more_problems=self._problems_elsewhere,
            leases=self._leases,
            growth=self._growth,
            hold=self._hold,
            announce=self.events.announce_snapshot,
        )

    def _leases(self) -> dict[str, str]:
        """Return the MAC addresses by IP address that services of features know."""
        found = (service.leases() for service in self.features.made if service.leases is not None)
        return {address: mac for leases in found for address, mac in leases.items()}

    def _growth(self, policy: Policy) -> Mapping[str, Growth]:
        """Return what the service that decides about people who grow up has decided; nothing without one."""
        found = (service.growth(policy) for service in self.features.made if service.growth is not None)
        return next(found, {})

    def _hold(self, policy: Policy) -> Policy:
        """Return the policy without what services of features hold back."""
        for service in self.features.made:
            policy = service.hold(policy) if service.hold is not None else policy
        return policy

    def _problems_elsewhere(self) -> tuple[Problem, ...]:
        found = (problem for service in self.features.made for problem in service.policy_problems())
        return (*self.follower.shared.current_problems(), *found)

    @cached_property
    def repair(self) -> SnapshotRepair:
        return SnapshotRepair(self.publisher)

    @cached_property
    def follower(self) -> PolicyFollower:
        return PolicyFollower(
            self.settings,
            store=self.store,
            publisher=self.publisher,
            recorder=self.recorder,
            metrics=self.metrics,
            prepare=lambda: self.features.prepare(self.core),
        )

    @cached_property
    def sites(self) -> SiteMemory:
        return SiteMemory(self.publisher.sites, is_unlisted=self.web.is_unlisted, publish=self.publisher.request)

    # Workers and connections

    @cached_property
    def workers(self) -> WorkerMonitor:
        return WorkerMonitor(self.settings.workers_files, self.metrics, self.recorder, own=self.tasks)

    @cached_property
    def reports(self) -> ProcessReports:
        return ProcessReports(self.publisher, self.repair, self.metrics, self.workers.tasks)

    @cached_property
    def dns_certificate(self) -> DnsCertificateIssuer:
        return DnsCertificateIssuer(self.settings, network=lambda: self.policy().network)

    # People

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(AccountStore(self.store))

    def access_rule(self) -> AccessRule:
        """Return the rule of the feature in use that has one."""
        rules = (feature.access_rule for feature in self._features_in_use())
        return next((rule(self.core) for rule in rules if rule is not None), self._no_rule)

    def session_control(self) -> SessionControl:
        """Return what begins, changes and ends sessions: of the feature in use that does, else of shared devices."""
        controls = (feature.sessions for feature in self._features_in_use())
        return next((control(self.core) for control in controls if control is not None), self._shared_devices)

    @cached_property
    def _shared_devices(self) -> SharedDeviceSessions:
        return SharedDeviceSessions(self.publisher)

    def _features_in_use(self) -> Iterator[Feature]:
        return (feature for feature in FEATURES if feature.is_used(self.policy()))

    @cached_property
    def tls(self) -> WebCertificates:
        return WebCertificates(self.settings, network=lambda: self.policy().network)

    @cached_property
    def web(self) -> WebControl:
        return WebControl(
            settings=self.settings,
            publisher=self.publisher,
            workers=self.workers,
            recorder=self.recorder,
            neighbours=self.neighbours,
            tls=self.tls,
            rule=self.access_rule,
            status_rows=self.features.status,
        )

    @cached_property
    def time(self) -> TimeService:
        return TimeService(self.publisher, rule=self.access_rule)

    @cached_property
    def codes(self) -> CodeService:
        return CodeService(
            self.publisher,
            web=self.web,
            times=self.time,
            recorder=self.recorder,
            store=CodeStore(self.store),
            rule=self.access_rule,
        )

    @cached_property
    def notices(self) -> NoticeDispatcher:
        return NoticeDispatcher(
            outbox=Outbox(self.store),
            book=AddressBook(self.settings.notices),
            policy=self.policy,
            send=self._send_notice,
            report=self._report_of_week,
            link=lambda: f"http://{self.web.reached_at('127.0.0.1')}/",
            open_requests=self.publisher.reader.requests,
            buttons=self._notice_buttons,
        )

    def _notice_buttons(self, key: str, reader: Language) -> list[NoticeButton]:
        return [button for feature in FEATURES for button in feature.notice_buttons(self.store, key, reader)]

    async def _send_notice(self, outgoing: OutgoingMessage) -> str:
        zygote = self.zygote if self.settings.has_jobs_identity else None
        return await send_in_subprocess(outgoing, local=self.policy().network.own_places, zygote=zygote)

    def _report_of_week(self, reader: Language) -> Report:
        from hedgerow.dashboards.reports import weekly_report  # with the templates

        return weekly_report(self.publisher.reader, self.policy(), time.time(), reader)

    @cached_property
    def find_likely(self) -> FindLikely:
        return likely_finder(self.publisher.reader, policy=self.policy)
