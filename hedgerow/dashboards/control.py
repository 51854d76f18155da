"""Interface to the running Hedgerow. `app` implements `Control`; all results are frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.coverage import CategoryCoverage, FetchProgress, ListHealth, fetch_progress
from hedgerow.journal.access_store import AccessCode
from hedgerow.journal.recorder import RESERVED_BYTES
from hedgerow.journal.remembered_sites import RememberedRow
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.expiry import PersonTimes
from hedgerow.policies.host_facts import Lifeline
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import Decision, DeviceId, Grant, GrantDuration, Pause, Policy, Reason, RequestKind
from hedgerow.policies.person_access import PersonAccess
from hedgerow.policies.time_model import Bonus, PauseKind
from hedgerow.task_state import StatusRow, TaskState

STARTING_S = 60.0
"""Seconds that a worker may take for its first start before that counts as a trouble."""

UNDO_S = 600.0
"""Seconds after which what was given, taken or answered is not undone any more."""


class InvalidInput(ValueError):
    """A request that cannot be fulfilled, such as one for an unknown device or a malformed host.

    `text` is an English sentence with `%(name)s` for each of `values`, so that pages can translate it. `field` is the
    form's field that it is about, if known. `status` is that of the HTTP response, and `more` are further members of
    the problem for scripts. One that is not `of_form` is about whoever sent it, and is shown above the page.
    """

    status = 422
    of_form = True

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text % values if values else text)
        self.text, self.values, self.field = text, values, ""
        self.more: Mapping[str, object] = {}

    def at(self, field: str) -> InvalidInput:
        """Attribute the problem to a field of the form, unless it already is."""
        self.field = self.field or field
        return self


def check_recent(done: float, now: float) -> None:
    """Raise `InvalidInput` for the undo of something that was done too long ago."""
    if done < now - UNDO_S:
        raise InvalidInput("Nothing was undone: that is possible for ten minutes only.")


def changed_since() -> InvalidInput:
    """Return the refusal of an undo after which something else was done."""
    return InvalidInput("This has been changed since, so nothing was undone.")


@contextlib.contextmanager
def at_field(name: str) -> Iterator[None]:
    """Attribute invalid input inside the block to a field of the form."""
    try:
        yield
    except InvalidInput as error:
        error.at(name)
        raise


class DangerousOpening(InvalidInput):
    """Refusal of something dangerous that nobody has confirmed. `more` has what it opens, and what confirms it."""

    status = 409

    def __init__(self, subject: AccessSubject, dangers: Sequence[str]) -> None:
        text = "%(what)s is closed for a reason: it belongs to %(topics)s."
        super().__init__(text, what=subject.what, topics=", ".join(dangers))
        self.subject, self.dangers = subject, dangers
        whose = {"person": subject.person, "device": subject.device}
        self.more = {"confirm": "sure", "what": subject.what, "dangers": dangers, **whose}


class WrongCode(InvalidInput):
    """The typed text is not a valid code.

    The message is for the person who typed it and reveals nothing about existing codes.
    """


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """State of one budget, in minutes.

    `subject` is empty for all use, `limit` is None without a limit today, `until` is the next reset.
    """

    whose: str
    subject: str
    used: int
    limit: int | None
    left: int | None
    until: float


@dataclass(frozen=True, slots=True)
class MadeCode:
    """A new code. Its digits cannot be shown again."""

    digits: str
    code: AccessCode


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker process. `state` is running, starting, restarting or stopped, `since` the instant of its start."""

    name: str
    role: str
    state: str
    since: float
    pid: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """State of Hedgerow. Instants are seconds since the epoch.

    `policy` is the path of the file in force, empty for the built-in policy. `policy_problems` are those of a newer
    file that was rejected. `coverage` sums up `lists` by category. `recommended` are the names of the public lists for
    the profiles in use; with `starter_only` the policy does without them. `dropped` counts decisions that were not
    recorded, `free_bytes` is the free space on the disk of the directory `state`. `certificates` are the expiry times
    of `ca`, `pages` and the policy's `files`. `lists_problem` and `publish_problem` are empty unless newer lists can't
    be put into force or newer rules can't be saved; `rules_in_force` tells whether the latter are in force all the
    same. `clock_is_behind`: the clock shows less than when Hedgerow ran last, so that everything with a
    bedtime or schedule stays closed.
    `has_gateway`: this machine forwards the network's traffic and redirects it. `block_page` is the address at which
    this run can show the block page, empty without one. `policy_hash` is equal for equal policies. `features` are
    problems that services of features report. `tasks` are those that fail, or have failed in the last minutes.
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
    coverage: tuple[CategoryCoverage, ...] = ()
    recommended: tuple[str, ...] = ()
    starter_only: bool = False
    workers: tuple[WorkerHealth, ...] = ()
    journal_problem: str = ""
    dropped: int = 0
    free_bytes: int = 0
    certificates: Mapping[str, float] = field(default_factory=dict)
    state: str = ""
    lists_problem: str = ""
    publish_problem: str = ""
    rules_in_force: bool = True
    clock_is_behind: bool = False
    has_gateway: bool = False
    block_page: str = ""
    policy_hash: str = ""
    features: tuple[StatusRow, ...] = ()
    tasks: tuple[TaskState, ...] = ()

    def stopped_workers(self, now: float) -> tuple[WorkerHealth, ...]:
        """Return the workers that do not run, without those in their first minute."""
        not_running = (each for each in self.workers if each.state != "running")
        return tuple(
            each for each in not_running if each.state != "starting" or each.restarts or now - each.since > STARTING_S
        )

    @property
    def is_disk_full(self) -> bool:
        """Return whether so little space is left that the oldest decisions are deleted for newer ones."""
        return self.free_bytes < RESERVED_BYTES

    @property
    def unfetched_lists(self) -> tuple[ListHealth, ...]:
        """Return all lists that are fetched if every one of them fails, else none."""
        remote = tuple(each for each in self.lists if each.is_remote)
        return remote if all(each.failed for each in remote) else ()

    @property
    def fetching(self) -> FetchProgress:
        """Return the progress of the downloads of lists."""
        return fetch_progress(self.lists)

    @property
    def adult_coverage(self) -> CategoryCoverage | None:
        """Return the coverage of adult sites, or None if no list has any."""
        return next((each for each in self.coverage if each.category == "adult"), None)


@dataclass(frozen=True, slots=True)
class WebNames:
    """Host names of the pages, besides addresses and localhost. Every device trusts the certificate of `secure`."""

    known: frozenset[str] = frozenset()
    secure: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as its own page shows it. `held` describes a pause or bedtime in force, empty if there is none.
    `held_by` is its reason. `by_wrong_clock`: it ends when the clock is right.

    `may_sign_in`: the device may open the sign-in page; children's devices may not. `may_resume`: it may, until a
    device of an adult is defined, so that the guide goes on in any browser. `conduct` is a café's code of
    conduct if the guest of `session` has not accepted it. `is_seat`: the device takes vouchers. `is_captive`: only this
    page is open until a session begins. `grade` is how it was recognised. `limited_as` is whose minutes and attempts it
    uses up, if not its own.
    """

    device: DeviceId
    person: str | None
    profile: str
    lifelines: tuple[Lifeline, ...] = ()
    held: str = ""
    held_until: float | None = None
    held_by: Reason | None = None
    by_wrong_clock: bool = False
    may_sign_in: bool = False
    may_resume: bool = False
    conduct: str = ""
    session: str = ""
    is_seat: bool = False
    is_captive: bool = False
    session_ends: float | None = None
    grade: Grade = Grade.ADDRESS
    limited_as: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The CA's certificate. `expires` is a date; `files` holds media type and content by file name."""

    name: str
    fingerprint: str
    expires: str
    files: Mapping[str, tuple[str, bytes]]


DOH_PORT, DOT_PORT = 443, 853


@dataclass(frozen=True, slots=True)
class EncryptedDns:
    """Encrypted DNS as devices reach it.

    A port is None if the transport is not served; `root` is the CA as DER, None for public ones.
    """

    server_name: str
    doh_port: int | None = None
    dot_port: int | None = None
    root: bytes | None = None

    def url(self, client_id: str) -> str | None:
        """Return the address for DNS over HTTPS, None if that is not served.

        >>> EncryptedDns("dns.home.example", 8443).url("5d0c")
        'https://dns.home.example:8443/dns-query/5d0c'
        """
        if self.doh_port is None:
            return None
        port = "" if self.doh_port == DOH_PORT else f":{self.doh_port}"
        return f"https://{self.server_name}{port}/dns-query/{client_id}"

    def host(self, client_id: str) -> str | None:
        """Return the host name for DNS over TLS. Systems know one port only, so it is None with another."""
        return f"{client_id}.{self.server_name}" if self.dot_port == DOT_PORT else None


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """Decision for a device at one enforcement point. `why` is a sentence for people, in English."""

    device: DeviceId
    person: str | None
    profile: str
    at: float
    kind: RequestKind
    host: str
    url: str | None
    decision: Decision
    why: str = ""


@dataclass(frozen=True, slots=True)
class Enforcement:
    """The state of the newest rules.

    `behind` are enforcement points, `dns` and `proxy`, that do not apply them all yet.

    `problem` says why they cannot be saved on the disk. They are in force all the same if they are at least in memory,
    which is what `is_written` tells; else the last ones are.
    """

    behind: tuple[str, ...] = ()
    problem: str = ""
    is_written: bool = True

    @property
    def is_complete(self) -> bool:
        """True if DNS and proxy apply the newest rules."""
        return not self.behind and self.is_written


@dataclass(frozen=True, slots=True)
class PauseExemption:
    """The person and the device that a pause for everybody leaves alone."""

    person: str | None = None
    device: str | None = None


class Control(Protocol):
    """The running Hedgerow. All methods are called on control's event loop.

    Plain methods answer from memory. `async` methods return when the change is in the journal and the new snapshot is
    published.
    """

    def status(self) -> Status:
        """Return the current state."""

    def names(self) -> WebNames:
        """Return the host names of the pages."""

    def policy(self) -> Policy:
        """Return the policy in force."""

    def certificate(self) -> Certificate:
        """Return the CA's certificate for devices."""

    def encrypted_dns(self) -> EncryptedDns | None:
        """Return encrypted DNS as devices reach it, or None if it has no name or is not served."""

    def signed_profile(self, profile: bytes) -> bytes:
        """Return an Apple profile as a signed message (CMS, RFC 5652).

        Raises `InvalidInput` if there is no usable key.
        """

    def reached_at(self, address: str) -> str:
        """Return the ADDR:PORT of the pages for other devices; this one has connected to `address`."""

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        """Return media type and content of the proxy configuration for browsers that reach this machine at
        `address`.
        """

    def person_access(self, person: str) -> PersonAccess:
        """Return a person's access to each service and topic now. Raises `InvalidInput` for an unknown person."""

    def is_open_by_default(self, person: str, subject: str) -> bool:
        """Return whether a service or topic would be open to a person without a rule of their own that names it."""

    def opens_too(self, grant: Grant) -> tuple[str, ...]:
        """Return the names of other services that only a grant in force opens, because its own service needs them."""

    def dangers(self, subject: AccessSubject) -> tuple[str, ...]:
        """Return the categories that make it dangerous to open something: those of the service, and of the address that
        leads to it.
        """

    def enforcement(self) -> Enforcement:
        """Return the enforcement points that apply the newest rules."""

    async def settle(self) -> None:
        """Wait until the last change is in force, also one of somebody else, for some seconds at most."""

    def person_times(self, people: Iterable[str]) -> Mapping[str, PersonTimes]:
        """Return the closure in force and tonight's bedtime of some people, from memory."""

    async def postpone_bedtime(self, person: str, minutes: int, actor: str) -> Grant:
        """Lift tonight's bedtime, or its rest, by some minutes more. Raises `InvalidInput` for a person without one."""

    def device_at(self, address: str) -> DeviceView | None:
        """Return the device at an IP address, or None outside `network.lan`."""

    async def approve(
        self,
        request_id: int,
        how_long: GrantDuration,
        actor: str,
        *,
        only_address: bool = False,
        only_device: bool = False,
        sure: bool = False,
    ) -> Grant | Bonus:
        """Approve an open request, and others for the same, with a grant, or a chore with its minutes.

        Raises `NoSuchEntry`, and `DangerousOpening` for something dangerous unless `sure`.
        """

    async def deny(self, request_id: int, actor: str, why: str = "") -> None:
        """Deny an open request, and others for the same, in these words. Raises `journal.access_store.NoSuchEntry`."""

    async def give(
        self, subject: AccessSubject, actor: str, *, ends: float | None, note: str = "", sure: bool = False
    ) -> Grant:
        """Grant a subject to a device, a person or everybody.

        Raises `InvalidInput` for an unknown name or subject, and `DangerousOpening` unless `sure`.
        """

    async def revoke(self, grant_id: str, actor: str) -> None:
        """End a grant now. Raises `journal.access_store.NoSuchEntry`."""

    async def pause(
        self,
        actor: str,
        *,
        device: str | None = None,
        person: str | None = None,
        ends: float | None = None,
        spared: PauseExemption = PauseExemption(),
        kind: PauseKind = PauseKind.ALL,
    ) -> Pause:
        """Pause a device, a person or everybody except `spared` until `ends` or until resumed.

        Raises `InvalidInput` for an unknown name or past `ends`, and for exceptions from the pause of one person or
        device.
        """

    async def resume(self, actor: str, *, device: str | None = None, person: str | None = None) -> None:
        """End the pauses of this device or person only; without either, those of everybody.

        Raises `InvalidInput` for an unknown name.
        """

    async def accept_list(self, name: str) -> None:
        """Put the newer copy of a list into use that was held back. Raises `InvalidInput`."""

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[ExplanationView, ...]:
        """Return the decision of each enforcement point for a host or URL, at `at` or now. Raises `InvalidInput`."""


class SiteCorrections(Protocol):
    """The sites that are remembered for their pages."""

    async def sites(self) -> tuple[RememberedRow, ...]:
        """Return the sites, the newest first."""

    async def correct(self, host: str, actor: str) -> None:
        """Forget a site, and never remember it again. Raises `journal.access_store.NoSuchEntry`."""


def pause_exemption(control: Control, name: str, address: str) -> PauseExemption:
    """Return the exemption from a pause for everybody: the person with an account's name, and the device in use unless
    it is another's.
    """
    policy = control.policy()
    person = next((each for each in policy.people if each.casefold() == name.casefold()), None)
    view = control.device_at(address) if address else None
    device = view.device if view is not None and view.person in (None, person) and not view.is_seat else None
    return PauseExemption(person, device)
