"""The nouns of a policy: who asks, what holds for them, what was decided and why.

Everything here is frozen: a worker swaps one reference and goes on. What is absent: files, clocks, sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import NewType
from zoneinfo import ZoneInfo

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import ContentRules
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.notices import Receiver
from hedgerow.policies.text.addresses import IpNetwork
from hedgerow.policies.time_model import Allowance, Schedule

DeviceId = NewType("DeviceId", str)
"""A device's name in the policy file; of one that nobody has named the MAC address if it is known, else the IP address."""


class RequestKind(StrEnum):
    """At which point, and so with how much knowledge, a request is judged."""

    DNS = "dns"  # a name is asked for
    TUNNEL = "tunnel"  # a CONNECT or a ClientHello: host and port, no URL
    HTTP = "http"  # a plain or an inspected request: the whole URL


class Verdict(StrEnum):
    ALLOW = "allow"
    BLOCK = "block"
    REWRITE = "rewrite"  # DNS: answer with `target` instead; HTTP: the request is changed as safe search demands
    INSPECT = "inspect"  # TUNNEL only: allowed as a host, and its URLs must be looked at


class Reason(StrEnum):
    """Why: one for each step of `decide`, in its order."""

    LIFELINE = "lifeline"
    PAUSE = "pause"
    NO_SESSION = "no-session"  # a café's seat that nobody has opened yet
    CONDUCT = "code-of-conduct"  # a café's guest has not accepted it yet
    BEDTIME = "bedtime"
    SCHEDULE = "schedule"  # the internet is closed at this time
    BUDGET = "budget"
    GRANT = "grant"
    EXCEPTION = "exception"  # an `allow` of the device, the person or the household
    RULE = "rule"  # a `block` of the device, the person or the household: a host or a URL
    BYPASS = "bypass"  # a way round the filter
    SERVICE = "service"
    CATEGORY = "category"
    SEARCH = "search"  # the words of a search
    SAFE_SEARCH = "safe-search"
    PAGE = "page"  # the words of a page: told by the inspector, after `decide` has let the request through
    FILE = "file"  # the kind of a file, likewise
    DEFAULT = "default"


class SafeSearch(StrEnum):
    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants, as far as the enforcement point can tell.

    `host` is canonical: lower case, A-labels, no trailing dot; or an IP address as text. `url` is given for HTTP only.
    `resource` is the value of Sec-Fetch-Dest, `initiator` the host of the page that asks (from Referer or Origin). `hides_host`: the
    client has encrypted which host it wants (ECH), and `host` is only what it shows instead. `dns_type` is the type of a DNS question, as
    `AAAA`; empty where no question is at hand.
    """

    device: DeviceId
    kind: RequestKind
    host: str
    port: int = 0
    url: str | None = None
    method: str = "GET"
    resource: str = ""
    initiator: str = ""
    hides_host: bool = False
    dns_type: str = ""


FIELDS_BY_KIND: Mapping[RequestKind, frozenset[str]] = {
    RequestKind.DNS: frozenset({"device", "host", "dns_type"}),
    RequestKind.TUNNEL: frozenset({"device", "host", "port", "hides_host"}),
    RequestKind.HTTP: frozenset({"device", "host", "port", "url", "method", "resource", "initiator"}),
}
"""Fields that an enforcement point fills in, by kind of request. The others keep their default."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why; it explains itself.

    `what` names the category, service, schedule or grant that decided; `rule` says where it is written; `until` is the
    instant (seconds since the epoch, UTC) after which the decision may differ, None when nothing is scheduled to change it.
    `target` is the name that a REWRITE answers with; `note` what the policy says beside the rule that blocks.
    `may_pass_unread` is about an INSPECT: no rule depends on URLs of the host, so a client that refuses our certificate may be tunnelled.
    """

    verdict: Verdict
    reason: Reason
    what: str = ""
    rule: Origin | None = None
    until: float | None = None
    target: str = ""
    note: str = ""
    may_pass_unread: bool = False


class GrantDuration(StrEnum):
    """How long a grant lasts: an hour, until the next midnight, or for good."""

    HOUR = "hour"
    TODAY = "today"
    GOOD = "good"

    def end(self, now: float, zone: ZoneInfo) -> float | None:
        """Return the instant (seconds since the epoch) at which a grant given `now` ends; None for good.

        >>> GrantDuration.HOUR.end(0.0, ZoneInfo("UTC")), GrantDuration.TODAY.end(90000.0, ZoneInfo("UTC"))
        (3600.0, 172800.0)
        """
        match self:
            case GrantDuration.HOUR:
                return now + 3600
            case GrantDuration.TODAY:
                tomorrow = datetime.fromtimestamp(now, zone).date() + timedelta(days=1)
                return datetime.combine(tomorrow, time(), zone).timestamp()
            case GrantDuration.GOOD:
                return None


@dataclass(frozen=True, slots=True)
class Grant:
    """A temporary exception that somebody gave: `subject` is a host, URL pattern, service or category that is allowed.

    `device` or `person` says for whom; both None means everybody. Instants are seconds since the epoch; `ends` None is for good.
    """

    id: str
    subject: str
    giver: str
    starts: float
    ends: float | None = None
    device: DeviceId | None = None
    person: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One decision as it may be remembered, after the person's privacy was applied (`policies.observe`).

    `count` says how often the same decision fell since the last report of it; `host` and `url` are empty where privacy hides them.
    """

    when: float
    device: DeviceId
    person: str | None
    profile: str
    kind: RequestKind
    verdict: Verdict
    reason: Reason
    what: str = ""
    host: str = ""
    url: str = ""
    rule: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Somebody asks for what was blocked."""

    when: float
    device: DeviceId
    person: str | None
    host: str
    url: str = ""
    reason: str = ""
    note: str = field(default="")


@dataclass(frozen=True, slots=True)
class CodeEntered:
    """Somebody types a code that was read out over the phone."""

    when: float
    device: DeviceId
    digits: str


class TargetKind(StrEnum):
    """What an item of `allow` or `block` names."""

    SERVICE = "service"
    CATEGORY = "category"
    HOST = "host"  # a domain and everything beneath it, or an IP address
    URL = "url"  # a host and the beginning of a path


class Privacy(StrEnum):
    """How much of a decision is remembered."""

    FULL = "full"  # host and URL
    DOMAIN = "domain"  # host
    CATEGORY = "category"  # only the category or service that decided
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class Target:
    """One item of an `allow` or `block`: `name` is a service id, a category, a canonical host or `host/path`.

    It holds until the instant `until`, None for good.
    """

    kind: TargetKind
    name: str
    origin: Origin
    until: float | None = None
    note: str = ""
    always: bool = False  # what is allowed is so at bedtimes, at times without internet and after the last minute of a budget too


@dataclass(frozen=True, slots=True)
class TimedRules:
    """Rules that hold at certain times only. `internet` BLOCK closes all of it then; ALLOW opens what bedtimes and others close.

    `otherwise` is blocked at all other times, and with `closed_otherwise` all of the internet is.
    """

    name: str
    when: Schedule
    origin: Origin
    allow: tuple[Target, ...] = ()
    block: tuple[Target, ...] = ()
    internet: Verdict | None = None
    note: str = ""
    otherwise: tuple[Target, ...] = ()
    closed_otherwise: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What one scope (profile, household, person, device) says. None leaves a setting to the wider scope."""

    allow: tuple[Target, ...] = ()
    block: tuple[Target, ...] = ()
    bedtime: Schedule | None = None
    safe_search: SafeSearch | None = None
    youtube: SafeSearch | None = None
    privacy: Privacy | None = None
    budget: tuple[Allowance, ...] | None = None
    schedules: tuple[TimedRules, ...] = ()
    retention: int | None = None  # days for which decisions are kept
    content: ContentRules = field(default_factory=ContentRules)


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of rules, complete: what it extends is already worked in."""

    name: str
    title: str
    rules: Rules
    why: str = ""
    source: str = ""
    origin: Origin | None = None
    is_for_children: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Who devices belong to. `profile` is resolved: from the policy, from the age, or the network's for unknown devices."""

    name: str
    profile: str
    age: int | None = None
    timezone: str | None = None
    rules: Rules = field(default_factory=Rules)
    origin: Origin | None = None
    holidays: tuple[date, ...] | None = None  # None: the network's


@dataclass(frozen=True, slots=True)
class Device:
    """Something on the network. `known` is false for a device that the policy does not name; its id then is its address.

    `macs` are lower case with colons; `networks` hold single addresses as /32 and /128. `profile` is resolved, as for a person.
    `client_id`: what it calls itself over encrypted DNS, from wherever it asks. `proxy_users` are the names under which
    it signs in to the proxy, `proxy_password` the Argon2id hash of its password.
    `hostnames`, which prove nothing, can only restrict. All of these are lower case.
    A device that several people share is in `sharers`' hands and has no `person`. `is_seat`: guests sit down at it one after another.
    `claims`: an unknown device bears the host name of this one, whose rules hold for it beside those for unknown devices.
    """

    id: DeviceId
    profile: str
    person: str | None = None
    macs: tuple[str, ...] = ()
    networks: tuple[IpNetwork, ...] = ()
    trusts_ca: bool = False
    never_inspect: bool = False
    rules: Rules = field(default_factory=Rules)
    known: bool = True
    origin: Origin | None = None
    sharers: tuple[str, ...] = ()
    is_seat: bool = False
    has_profile: bool = False  # of its own, whoever uses it
    client_id: str | None = None
    hostnames: tuple[str, ...] = ()
    proxy_users: tuple[str, ...] = ()
    proxy_password: str | None = field(default=None, repr=False)
    claims: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list that the policy names: `path` is absolute, or `url` is given. `format` None: found out from the text.

    `refresh` is after how many seconds a copy is too old to be relied on, None where nobody says.
    """

    name: str
    category: str
    path: str | None = None
    url: str | None = None
    format: str | None = None
    origin: Origin | None = None
    refresh: float | None = None


@dataclass(frozen=True, slots=True)
class CodeOfConduct:
    """A café's code of conduct: its text as it was read, and where the policy names its file."""

    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole validated configuration. Every name in it is known to exist. `household` holds for everybody."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    people: dict[str, Person] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    household: Rules = field(default_factory=Rules)
    lists: tuple[ListSource, ...] = ()
    categories: tuple[str, ...] = ()  # all that exist: the built-in ones and those that `lists` define
    path: str | None = None
    files: tuple[str, ...] = ()  # all that it was read from beside `path`: included files, calendars
    calendars: tuple[str, ...] = ()  # URLs of calendars with holidays
    conduct: CodeOfConduct | None = None
    closes_unopened: Origin | None = None  # where it says that seats are closed until somebody opens them; None: they are a child's
    phrase_lists: tuple[str, ...] = ()  # files of weighted phrases beside the built-in ones; absolute
    notices: dict[str, Receiver] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody at a device for a while: who signed in at one that several share, or a guest at a seat, under `profile`.

    A later sitting of the same device counts over an earlier one. `accepted`: when the guest accepted the code of conduct.
    """

    id: str
    device: DeviceId
    giver: str
    starts: float
    ends: float | None = None
    person: str | None = None
    profile: str | None = None
    name: str = ""
    accepted: float | None = None


@dataclass(frozen=True, slots=True)
class ConductAccepted:
    """The guest of a sitting accepts the café's code of conduct."""

    when: float
    session: str


@dataclass(frozen=True, slots=True)
class Pause:
    """The internet stopped by hand. `device` or `person` says for whom; both None means everybody. `ends` None: until resumed."""

    id: str
    giver: str
    starts: float
    ends: float | None = None
    device: DeviceId | None = None
    person: str | None = None
    note: str = ""
