"""What the web may ask of the running Hedgerow. `app` implements `Control`; everything that comes back is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.host_facts import Lifeline
from hedgerow.policies.model import Decision, DeviceId, Grant, GrantDuration, Pause, Policy, RequestKind


class InvalidInput(ValueError):
    """What was asked cannot be: no such device or person, not a host, a time that is over.

    `text` is one English sentence for the asker, with `%(name)s` where one of `values` goes, so that pages can say it in other languages.
    """

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text % values if values else text)
        self.text, self.values = text, values


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """One process. `state` is one word such as running, starting, restarting or stopped; `since` is when it began."""

    name: str
    role: str
    state: str
    since: float
    pid: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class ListHealth:
    """One list: how many domains it names, when its server was last heard or its file written, and what is wrong with it.

    `unique` domains are in no other list. `problems` and what was `ignored` on purpose are counted by kind. `held`: a newer copy
    is held back until somebody accepts it. `failed`: its server gave nothing, or its copy is too old to be relied on.
    """

    source: str
    category: str
    domains: int
    fetched: float | None = None
    problem: str = ""
    unique: int = 0
    url_rules: int = 0
    format: str = ""
    problems: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    held: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """How Hedgerow is. Instants are seconds since the epoch.

    `people` are the names that the policy knows. `policy` is the path of the file in force, empty for the built-in default;
    `policy_problems` are those of a newer file that was not taken; `journal_problem` is `Recorder.problem`; `dropped` counts
    decisions that were not remembered; `free_bytes` are left on the disk of the state;
    `certificates` are the instants at which they end: of the `ca`, of the `pages` under it, and of the policy's `files`.
    """

    version: str
    started: float
    timezone: str
    people: tuple[str, ...] = ()
    policy: str = ""
    policy_loaded: float | None = None
    policy_problems: tuple[Problem, ...] = ()
    list_problems: tuple[Problem, ...] = ()
    lists: tuple[ListHealth, ...] = ()
    workers: tuple[WorkerHealth, ...] = ()
    journal_problem: str = ""
    dropped: int = 0
    free_bytes: int = 0
    certificates: Mapping[str, float] = field(default_factory=dict)

    @property
    def knows_few_adult_sites(self) -> bool:
        """Whether the starter list alone filters adult sites: because others are not fetched yet, or because none is wanted."""
        adult = [each for each in self.lists if each.category == "adult" and each.domains]
        return all(each.source.startswith("starter/") for each in adult)


@dataclass(frozen=True, slots=True)
class WebNames:
    """The names, beside addresses and localhost, by which the pages are reached. `secure`: one whose certificate everybody can check."""

    known: frozenset[str] = frozenset()
    secure: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What a device may know of itself. `held` says in words that a pause or bedtime holds now, empty otherwise.

    `may_sign_in`: the sign-in page is shown to this device; the filtered devices of children get no more than their own page.
    `conduct`: the café's code of conduct, where the guest of the session `sitting` has yet to accept it. `is_seat`: vouchers are taken
    here; `is_captive`: nothing but this page is open before a guest has begun; `session_ends`: when the session here does.
    """

    device: DeviceId
    person: str | None
    profile: str
    lifelines: tuple[Lifeline, ...] = ()
    held: str = ""
    held_until: float | None = None
    may_sign_in: bool = False
    conduct: str = ""
    session: str = ""
    is_seat: bool = False
    is_captive: bool = False
    session_ends: float | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The CA's certificate. `expires` is a day, `files` are its forms by file name, each with its type and its bytes."""

    name: str
    fingerprint: str
    expires: str
    files: Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """What would be decided for a device at one enforcement point, and why."""

    device: DeviceId
    person: str | None
    profile: str
    at: float
    kind: RequestKind
    host: str
    url: str | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class ServiceAccess:
    """What holds for a service, and what would hold without the person's own rules for services."""

    now: Decision
    by_default: Decision


class Control(Protocol):
    """The running Hedgerow, as the web sees it. All methods are called on control's event loop.

    The plain ones answer at once from memory; the `async` ones may touch the disk (through a thread) and return when the change is
    in the journal and the new snapshot is published.
    """

    def status(self) -> Status:
        """How everything is now."""

    def names(self) -> WebNames:
        """By which names the pages are reached, from memory."""

    def policy(self) -> Policy:
        """The policy in force."""

    def certificate(self) -> Certificate:
        """The certificate of the CA, as devices install it."""

    def reached_at(self, address: str) -> str:
        """ADDR:PORT by which other devices reach the web, where this one has reached it at `address`."""

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        """The file by which browsers configure themselves for the proxy of the machine at `address`, with its type."""

    def service_access(self, person: str) -> Mapping[str, ServiceAccess]:
        """The decision for each service of a person. Pauses, bedtimes and budgets are left aside. Raises `InvalidInput` for an unknown
        name."""

    def device_at(self, address: str) -> DeviceView | None:
        """The device at an IP address, or None where it is not inside `network.lan`."""

    async def approve(self, request_id: int, how_long: GrantDuration, actor: str) -> Grant:
        """Answers an open request with a grant for its device and host. Raises `journal.ledger.NoSuchEntry`."""

    async def deny(self, request_id: int, actor: str) -> None:
        """Answers an open request with no. Raises `journal.ledger.NoSuchEntry`."""

    async def give(
        self, subject: str, actor: str, *, device: str | None = None, person: str | None = None, ends: float | None, note: str = ""
    ) -> Grant:  # fmt: skip
        """A grant that nobody asked for, for a device, a person or everybody. Raises `InvalidInput` for an unknown name or subject."""

    async def revoke(self, grant_id: str, actor: str) -> None:
        """Ends a grant now. Raises `journal.ledger.NoSuchEntry`."""

    async def pause(self, actor: str, *, device: str | None = None, person: str | None = None, ends: float | None = None) -> Pause:
        """Holds a device, a person or everybody until `ends` or until resumed. Raises `InvalidInput` for an unknown name or a past
        `ends`."""

    async def resume(self, actor: str, *, device: str | None = None, person: str | None = None) -> None:
        """Ends the pauses of exactly this device or person (neither given: those of everybody). Raises `InvalidInput` for an unknown
        name."""

    async def accept_list(self, name: str) -> None:
        """Takes the newer copy of a list that is held back into use. Raises `InvalidInput`."""

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[ExplanationView, ...]:
        """What each enforcement point would decide for a host or URL, at `at` or now. Raises `InvalidInput`."""
