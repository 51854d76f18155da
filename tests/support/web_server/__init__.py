"""A web server on a loopback port over a real journal, with a `Control` that does everything except decide."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import runpy
import secrets
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from argon2 import PasswordHasher
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.app.control.access import dangers_for
from hedgerow.app.control.snapshots.remembered_sites import SiteMemory
from hedgerow.app.control.web import access_of, default_of, explain_views
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot, identity_of
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.client_classes import ClassedClient, named_client, unnamed_client
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.actions.orders import BonusOrder, CodeOrder, ExtendOrder, SeatOrder
from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.app import create_app
from hedgerow.dashboards.control import (
    BudgetRow,
    Certificate,
    DangerousOpening,
    DeviceView,
    EncryptedDns,
    Enforcement,
    ExplanationView,
    InvalidInput,
    MadeCode,
    PauseExemption,
    Status,
    WebNames,
    WrongCode,
)
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.deferred_app import DeferredApp, health_of
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy, PolicyEditor
from hedgerow.dashboards.extensions import Extensions
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDispatcher, OutgoingMessage
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.passwords import PasswordHashes, SetupCode
from hedgerow.dashboards.reports import weekly_report
from hedgerow.dashboards.server import listen_locally, web_server
from hedgerow.features import FEATURES
from hedgerow.features.contract import ControlService, extensions_of
from hedgerow.journal.access_store import AccessCode, GrantStore, NoSuchEntry
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.database import Place, open_journal
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import PersonalDataStore
from hedgerow.journal.policy_history import PolicyHistory
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.journal.store import Store, StoreAddress
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.access_subject import AccessSubject, opens_too
from hedgerow.policies.expiry import PersonTimes, UpcomingEnd, person_times
from hedgerow.policies.model import (
    Decision,
    DeviceId,
    Grant,
    GrantDuration,
    Pause,
    Policy,
    RequestKind,
    Session,
)
from hedgerow.policies.person_access import PersonAccess, dangers_opened
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.time_model import LATER_BEDTIME, Bonus, PauseKind, SpentBudget
from web_server.serving import serving

NOW = 1_780_000_000.0  # 2026-05-28 20:26:40 UTC
_NOBODY = PauseExemption()
TOKEN = "a-token-for-tests"
SETUP_CODE = "TESTC-XDEHJ"
OWNER = "this machine"
"""The account of the person who sits at the machine."""
OWNER_PASSWORD = "the owner's four words"


class FixedCodes:
    """`CodeControl` with one code that cannot be redeemed."""

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        ends = NOW + order.valid_minutes * 60
        minutes = order.minutes or 0
        how_long = "" if minutes else order.how_long.value
        return MadeCode(
            "123456",
            AccessCode(
                "c", actor, NOW, ends, order.device, order.person, order.subject, how_long, minutes, order.request
            ),
        )

    async def open(self) -> tuple[AccessCode, ...]:
        return ()

    async def withdraw(self, code_id: str) -> None:
        raise NoSuchEntry(f"there is no code {code_id}")

    async def redeem(self, device_id: str, typed: str) -> AccessCode:
        raise WrongCode(f"{device_id} knows no code {typed}.")


class _FeatureParts:
    """Parts of the services of features, which are made when a route first asks for them, and do not run."""

    def __init__(self, state: Path, clock: Callable[[], float]) -> None:
        snapshots = SimpleNamespace(request=lambda: None)
        self._core: Any = SimpleNamespace(settings=SimpleNamespace(state=state), snapshots=snapshots, clock=clock)
        self._made: dict[str, Sequence[ControlService]] = {}

    async def running_part[Kind](self, kind: type[Kind], name: str) -> Kind:
        (feature,) = (each for each in FEATURES if each.name == name)
        services = self._made.setdefault(name, self._made.get(name) or feature.services(self._core))
        return next(service.part for service in services if isinstance(service.part, kind))


@functools.cache
def _starter_lists() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder with the compiled starter lists."""
    folder = tempfile.TemporaryDirectory()
    compile_generation(starter_sources(), Path(folder.name) / "generation")
    return folder


@functools.cache
def _empty_journal() -> bytes:
    """Return the file of a journal without rows, whose migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        open_journal(path).dispose()
        return path.read_bytes()


def view_of(
    policy: Policy, grants: tuple[Grant, ...] = (), pauses: tuple[Pause, ...] = (), spent: tuple[SpentBudget, ...] = ()
) -> LoadedSnapshot:
    """Return a worker's snapshot of a policy and the starter lists."""
    return LoadedSnapshot(Snapshot(1, NOW, policy, Path(_starter_lists().name) / "generation", grants, pauses, spent))


@dataclass
class LedgerControl:
    """`Control` that changes a real journal. The test sets devices and status."""

    ledger: GrantStore
    state: Status
    policy_path: Path
    reader: JournalReader
    devices: dict[str, DeviceView] = field(default_factory=dict)
    view: LoadedSnapshot | None = None
    bare_view: LoadedSnapshot | None = None
    loaded: tuple[object, Policy] | None = None
    spent: tuple[SpentBudget, ...] = ()
    explained: Decision | None = None
    enforced: Enforcement = field(default_factory=Enforcement)
    settled: Enforcement | None = None

    def status(self) -> Status:
        return self.state

    def names(self) -> WebNames:
        return WebNames(frozenset({"pages.home.example"}), "pages.home.example")

    def policy(self) -> Policy:
        """Load it again once one of its files has changed, as the running Hedgerow does."""
        before = self.loaded
        if before is not None and before[0] == self._files(before[1]):
            return before[1]
        while True:  # a test may be writing the file at this moment
            content = self._content()
            policy = load_policy(self.policy_path if self.policy_path.exists() else None)
            files = self._files(policy)
            if files[0] == content:
                self.loaded = files, policy
                return policy

    def _content(self) -> bytes | None:
        try:
            return self.policy_path.read_bytes()
        except FileNotFoundError:
            return None

    def _files(self, policy: Policy) -> tuple[bytes | None, object]:
        return self._content(), [identity_of(Path(file)) for file in policy.files]

    def certificate(self) -> Certificate:
        names = ("hedgerow-ca.pem", "hedgerow-ca.crt", "hedgerow-ca.mobileconfig")
        return Certificate(
            "Hedgerow network CA 0",
            "AA:BB",
            "2031-01-01",
            {name: ("application/x-test", name.encode()) for name in names},
        )

    def encrypted_dns(self) -> EncryptedDns | None:
        return EncryptedDns("dns.home.example", 443, 853)

    def signed_profile(self, profile: bytes) -> bytes:
        return profile

    def reached_at(self, address: str) -> str:
        return f"{ip_address(address)}:8053"  # as control, which takes an address only

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        return "application/x-ns-proxy-autoconfig", f"PROXY {address}:3128".encode()

    def person_access(self, person: str) -> PersonAccess:
        return access_of(self._view(), person, NOW)

    def _view(self) -> LoadedSnapshot:
        """Keep one view while policy, grants and pauses are unchanged, as the running Hedgerow does."""
        policy, parts = self.policy(), (self.reader.grants(NOW), self.reader.pauses(NOW), self.spent)
        now = self.view and (
            self.view.policy,
            self.view.snapshot.grants,
            self.view.snapshot.pauses,
            self.view.snapshot.spent,
        )
        if self.view is None or now != (policy, *parts):
            self.view = view_of(policy, *parts)
        return self.view

    def is_open_by_default(self, person: str, subject: str) -> bool:
        view = self._bare_view()
        return default_of(view.policy, view.catalogue, person, subject, NOW)

    def opens_too(self, grant: Grant) -> tuple[str, ...]:
        return opens_too(grant.subject)

    def dangers(self, subject: AccessSubject) -> tuple[str, ...]:
        return dangers_for(self._bare_view(), subject)

    def find_dangers(self, policy: Policy) -> Iterable[tuple[AccessSubject, Sequence[str]]]:
        view = self._bare_view()
        return dangers_opened(view.policy, policy, view.catalogue)

    def _check_dangers(self, subject: AccessSubject, *, sure: bool) -> None:
        if not sure and (dangers := self.dangers(subject)):
            raise DangerousOpening(subject, dangers)

    def _bare_view(self) -> LoadedSnapshot:
        """Keep one view of the policy without grants and pauses."""
        policy = self.policy()
        if self.bare_view is None or self.bare_view.policy is not policy:
            self.bare_view = view_of(policy)
        return self.bare_view

    def enforcement(self) -> Enforcement:
        return self.enforced

    async def settle(self) -> None:
        self.enforced = self.settled or self.enforced

    def person_times(self, people: Iterable[str]) -> dict[str, PersonTimes]:
        view = self._view()
        policy = view.policy
        return {name: person_times(view.rulesets, policy.people[name], NOW) for name in people if name in policy.people}

    async def postpone_bedtime(self, person: str, minutes: int, actor: str) -> Grant:
        if person not in self.policy().people:
            raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
        bedtime = self.person_times([person])[person].bedtime
        if bedtime is None:
            raise InvalidInput("%(name)s has no bedtime tonight.", name=person)
        grant = Grant(secrets.token_hex(4), LATER_BEDTIME, actor, NOW, bedtime + minutes * 60, person=person)
        await asyncio.to_thread(self.ledger.give, grant)
        return grant

    def device_at(self, address: str) -> DeviceView | None:
        return self.devices.get(address)

    def client_at(self, address: str) -> ClassedClient:
        device = self.devices.get(address)
        return unnamed_client(address) if device is None else named_client(device.device)

    async def approve(
        self,
        request_id: int,
        how_long: GrantDuration,
        actor: str,
        *,
        only_address: bool = False,
        only_device: bool = False,
        sure: bool = False,
    ) -> Grant:
        request = await asyncio.to_thread(self.ledger.request, request_id)
        ends = None if how_long is GrantDuration.GOOD else NOW + 3600
        subject = request.access_subject(self.policy(), only_address=only_address, only_device=only_device)
        grant = Grant(secrets.token_hex(4), subject.what, actor, NOW, ends, subject.device, subject.person)
        self._check_dangers(subject, sure=sure)
        await asyncio.to_thread(self.ledger.approve, request_id, grant)
        return grant

    async def deny(self, request_id: int, actor: str, why: str = "") -> None:
        await asyncio.to_thread(self.ledger.deny, request_id, actor, why)

    async def give(
        self, subject: AccessSubject, actor: str, *, ends: float | None, note: str = "", sure: bool = False
    ) -> Grant:
        self._check_dangers(subject, sure=sure)
        grant = Grant(secrets.token_hex(4), subject.what, actor, NOW, ends, subject.device, subject.person, note)
        await asyncio.to_thread(self.ledger.give, grant)
        return grant

    async def revoke(self, grant_id: str, actor: str) -> None:
        await asyncio.to_thread(self.ledger.revoke, grant_id, actor)

    async def pause(
        self,
        actor: str,
        *,
        device: str | None = None,
        person: str | None = None,
        ends: float | None = None,
        spared: PauseExemption = _NOBODY,
        kind: PauseKind = PauseKind.ALL,
    ) -> Pause:
        if person == "nobody":
            raise InvalidInput("there is no person nobody")
        ids = [DeviceId(each) if each else None for each in (device, spared.device)]
        return await asyncio.to_thread(
            lambda: self.ledger.pause(
                actor,
                device=ids[0],
                person=person,
                ends=ends,
                spared_person=spared.person,
                spared_device=ids[1],
                kind=kind,
            )
        )

    async def resume(self, actor: str, *, device: str | None = None, person: str | None = None) -> None:
        await asyncio.to_thread(self.ledger.resume, actor, device=DeviceId(device) if device else None, person=person)

    async def accept_list(self, name: str) -> None:
        held = [each for each in self.state.lists if each.held and each.source == name]
        if not held:
            raise InvalidInput("No newer copy of '%(name)s' is being held back.", name=name)
        self.state = replace(
            self.state, lists=tuple(replace(each, held=False) if each in held else each for each in self.state.lists)
        )

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[ExplanationView, ...]:
        if self.explained is not None:
            return (
                ExplanationView(
                    DeviceId(device), "mia", "child-8-12", NOW, RequestKind.DNS, target, None, self.explained
                ),
            )
        return explain_views(self._view(), device, target, NOW if at is None else at)


@dataclass
class CountedTime:
    """`TimeControl` with budgets from the test. It records bonus minutes and sessions."""

    rows: tuple[BudgetRow, ...] = ()
    given: list[tuple[str, str, int, str]] = field(default_factory=list)
    ending: tuple[UpcomingEnd, ...] = ()
    accepted: list[str] = field(default_factory=list)
    since: dict[str, float] = field(default_factory=dict)
    seated: dict[str, Session] = field(default_factory=dict)
    ended: dict[str, Session] = field(default_factory=dict)

    def budgets(self) -> tuple[BudgetRow, ...]:
        return self.rows

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        return tuple(each for each in self.ending if each.whose == device)

    def sessions(self) -> tuple[Session, ...]:
        return tuple(self.seated.values())

    async def accept(self, session_id: str) -> None:
        self.accepted.append(session_id)

    def session_start(self, device: str) -> float:
        return self.since.get(device, 0.0)

    async def add_minutes(self, order: BonusOrder, *, actor: str) -> Bonus:
        if order.name not in {row.whose for row in self.rows}:
            raise InvalidInput(f"{order.name} has no budget.")
        self.given.append((order.name, order.subject, order.minutes, actor))
        return Bonus("b", f"person:{order.name}", order.subject, order.minutes, actor, NOW)

    async def start_session(self, device: str, order: SeatOrder, *, actor: str, request: str = "") -> Session:
        if not device.startswith("seat"):
            raise InvalidInput("%(device)s is not a seat: choose which of its people is signing in.", device=device)
        ends = NOW + order.minutes * 60 if order.minutes else None
        self.seated[device] = Session(
            "s", DeviceId(device), actor, NOW, ends, order.person, f"seat-{order.band}", order.name
        )
        return self.seated[device]

    async def end_session(self, device: str, *, actor: str, request: str = "") -> Session | None:
        here = self.session_there(device)
        self.ended[here.id] = self.seated.pop(device)
        return here

    async def extend_session(self, device: str, order: ExtendOrder, *, actor: str, request: str = "") -> None:
        here = self.session_there(device)
        assert here.ends is not None
        self.seated[device] = replace(here, ends=here.ends + order.minutes * 60)

    async def pause_session(self, device: str, minutes: float, *, actor: str, request: str = "") -> None:
        await self.extend_session(device, ExtendOrder(minutes=minutes), actor=actor)

    async def resume_session(self, device: str, *, actor: str) -> None:
        self.session_there(device)

    async def reopen_session(self, session_id: str, ends: float | None, *, actor: str, request: str = "") -> None:
        if session_id not in self.ended:
            raise InvalidInput("There is no such session.")
        here = self.ended.pop(session_id)
        self.seated[here.device] = replace(here, ends=ends)

    def session_there(self, device: str) -> Session:
        if device not in self.seated:
            raise InvalidInput("There is no session at that seat.")
        return self.seated[device]


@dataclass
class Post:
    """Service for notices that accepts everything, or fails with the problem that the test sets."""

    problem: str = ""
    sent: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> str:
        if not self.problem:
            self.sent.append(message)
        return self.problem


@dataclass(frozen=True)
class Web:
    """A running web server with its parts."""

    port: int
    engine: Store
    recorder: Recorder
    ledger: GrantStore
    control: LedgerControl
    metrics: Metrics
    accounts: Accounts
    policy_path: Path
    routes: frozenset[tuple[str, str]]
    time: CountedTime
    post: Post

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def change_status(self, **fields: object) -> None:
        self.control.state = replace(self.control.state, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _FeatureCore:
    """The parts of control that parts of features are made of."""

    accounts: Accounts
    store: Store
    control: LedgerControl
    clock: Callable[[], float]
    parts: dict[Callable[..., Any], Any]
    notices: list[object] = field(default_factory=list)

    def part(self, make: Callable[..., Any]) -> Any:
        if make not in self.parts:
            self.parts[make] = make(self)
        return self.parts[make]

    def notify(self, notices: Sequence[object]) -> None:
        self.notices.extend(notices)

    @property
    def snapshots(self) -> Any:
        """What is changed in the journal is in force at once."""
        ledger = GrantStore(self.store, clock=self.clock)
        return SimpleNamespace(ledger=ledger, usage=UsageStore(self.store, clock=self.clock), put_in_force=_at_once)

    @property
    def policy(self) -> Policy:
        return self.control.policy()


class _SignedInBrowser:
    """The owner's browser: adds the cookie of its session to requests from 127.0.0.1 without another session or a
    token.
    """

    def __init__(self, app: ASGIApp, cookie: str) -> None:
        self._app, self._cookie = app, f"{SESSION_COOKIE}={cookie}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["client"] or ("",))[0] == "127.0.0.1":
            headers = MutableHeaders(scope=scope)
            is_here = headers.get("host", "").rpartition(":")[0] in {"127.0.0.1", "localhost"}
            cookies = headers.get("cookie", "")
            if (
                is_here
                and SESSION_COOKIE not in cookies
                and not {"authorization", "via", "x-forwarded-for"} & set(headers)
            ):
                headers["cookie"] = "; ".join(filter(None, (cookies, self._cookie)))
        await self._app(scope, receive, send)


@contextlib.contextmanager
def running_web(
    state: Path,
    listen: str = "0.0.0.0",
    port: int = 0,
    *,
    token: str = TOKEN,
    clock: Callable[[], float] = lambda: NOW,
    warm: bool = False,
    store: StoreAddress | None = None,
    has_password: bool = True,
    extensions: Extensions | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Web]:
    """Serve on every IPv4 loopback address, so that a test can act as any device in 127.0.0.0/8.

    The policy file is `hedgerow.yaml` in `state` and may be missing. The journal is in `state` too, unless there is a
    `store`. With `has_password`, an admin has an account, and is signed in at 127.0.0.1. Without it, this is the first
    start.
    """
    journal: Place = store or state / "journal.sqlite"
    if isinstance(journal, Path) and not journal.exists():
        journal.write_bytes(_empty_journal())
    engine = open_journal(journal)
    ledger, policy_path = GrantStore(engine, clock=clock), state / "hedgerow.yaml"
    status = Status("0.1.0", clock() - 7200, "Europe/Lisbon", free_bytes=10**11, state=str(state))
    control = LedgerControl(ledger, status, policy_path, JournalReader(engine))
    metrics = Metrics(*(metric for feature in FEATURES for metric in feature.metrics()), strict=True)
    hashes = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    accounts = Accounts(AccountStore(engine), clock, hashes, SetupCode(code="TESTCXDEHJ"))
    editor = PolicyEditor(policy_path, PolicyHistory(engine), _nothing_to_do, clock, control.find_dangers)
    recorder = Recorder(engine, clock=clock)
    data_export = DataExport(PersonalDataStore(engine, clock=clock), recorder, control.policy, clock)
    counted = CountedTime()
    reader, post = JournalReader(engine), Post()
    notices = NoticeDispatcher(
        Outbox(engine, clock=clock),
        AddressBook(state / "notices"),
        control.policy,
        post.send,
        lambda said: weekly_report(reader, control.policy(), clock(), said),
        clock=clock,
    )
    sites = SiteMemory(RememberedSiteStore(engine), lambda _host: True, lambda: None, clock)
    parts = _parts_of_features(
        time=counted,
        accounts=accounts,
        store=engine,
        policy=control.policy,
        clock=clock,
        control=control,
        editor=editor,
        notify=notices.enqueue,
    )
    core = _FeatureCore(accounts, engine, control, clock, parts)
    context = PageContext(
        reader=reader,
        control=control,
        accounts=accounts,
        editor=editor,
        data_export=data_export,
        metrics=metrics,
        time=counted,
        session_control=lambda: counted,
        codes=FixedCodes(),
        part=core.part,
        notices=notices,
        request_access=lambda asked: recorder.add([asked]),
        sites=sites,
        running_part=_FeatureParts(state, clock).running_part,
        extensions=extensions_of(FEATURES) if extensions is None else extensions,
        clock=clock,
    )
    app = create_app(context, token)
    routes = frozenset((method, route.path) for route in app.state.routes for method in route.methods)
    if warm:
        context.renderer.warm()
    signed_in: ASGIApp = DeferredApp(lambda: app, lambda: health_of(control.state))
    if has_password:
        begin = accounts.sign_in if accounts.has_any else accounts.create_first
        with ThreadPoolExecutor(1) as thread:  # a test with a browser has a running event loop in its own
            cookie = thread.submit(asyncio.run, begin(OWNER, OWNER_PASSWORD, SETUP_CODE, "127.0.0.1", "")).result()
        signed_in = _SignedInBrowser(signed_in, cookie)
    with socket.create_server((listen, port)) as listener, listen_locally(state / "control.sock") as unix_socket:
        server = web_server(
            signed_in,
            tls=lambda: tls,
            client_of=control.client_at,
            person_of=accounts.person_of,
            unix_socket=unix_socket,
        )
        try:
            with serving(server, listener) as served:
                yield Web(
                    served, engine, recorder, ledger, control, metrics, accounts, policy_path, routes, counted, post
                )
        finally:
            engine.dispose()
            # FastAPI caches methods of pages, and with them this control and its open lists
            control.view = control.bare_view = None


def _parts_of_features(**core: Any) -> dict[Any, Any]:
    """Return what features put in the place of their parts (`tests/features/NAME/web_parts.py`)."""
    found: dict[Any, Any] = {}
    for file in sorted((Path(__file__).parents[2] / "features").glob("*/web_parts.py")):
        found |= runpy.run_path(str(file))["parts"](**core)
    return found


async def _at_once() -> None:
    """Wait for nothing."""


async def _nothing_to_do(_path: Path, _checked: CheckedPolicy) -> None:
    """Do nothing: this control reads the file at each call."""
