"""The nouns of a policy: devices, people, profiles, rules, requests and decisions; frozen, without files, clocks and
sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import NewType
from zoneinfo import ZoneInfo

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import ContentRules
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.feature_settings import FeatureSettings, WorkerReport, decode_settings
from hedgerow.policies.growth_steps import Born, LegalClosing, LegalStep, ProfileStep
from hedgerow.policies.network import NetworkSettings, TunnelPeer
from hedgerow.policies.notices import Receiver
from hedgerow.policies.seats import CodeOfConduct
from hedgerow.policies.text.addresses import IpNetwork
from hedgerow.policies.time_model import Allowance, PauseKind, Schedule
from hedgerow.values import value_dataclass

# the name in the policy file; for a device without one its MAC address if known, else its IP address
DeviceId = NewType("DeviceId", str)


class RequestKind(StrEnum):
    """The point at which a request is judged, and so how much is known of it."""

    DNS = "dns"  # a question for a name
    TUNNEL = "tunnel"  # CONNECT or ClientHello: host and port, no URL
    HTTP = "http"  # a plain or an inspected request: the whole URL


class Verdict(StrEnum):
    ALLOW = "allow"
    BLOCK = "block"
    REWRITE = "rewrite"  # DNS: answer with `target` instead; HTTP: the request is changed as safe search demands
    INSPECT = "inspect"  # TUNNEL only: the host is allowed, its URLs must be judged


class Reason(StrEnum):
    """The reason for a decision: one for each step of `decide`, in its order."""

    LIFELINE = "lifeline"
    PAUSE = "pause"
    NO_SESSION = "no-session"  # a café's seat that nobody has opened yet
    CONDUCT = "code-of-conduct"  # a guest at a café has not accepted it yet
    BEDTIME = "bedtime"
    SCHEDULE = "schedule"  # the internet is closed at this time
    BUDGET = "budget"
    UNNAMED = "unnamed-device"  # nobody has named the device, while the internet is closed for a child
    GRANT = "grant"
    EXCEPTION = "exception"  # an `allow` of the device, the person or the household
    RULE = "rule"  # a `block` of the device, the person or the household: a host or a URL
    BYPASS = "bypass"  # a way around the filter
    SERVICE = "service"
    CATEGORY = "category"
    RECOGNISED = "recognised"  # in no list, but it looks like something that is blocked
    SEARCH = "search"  # the terms of a search
    SAFE_SEARCH = "safe-search"
    # the words of a page: the inspector decides this and the next two, after `decide` has allowed the request
    PAGE = "page"
    FILE = "file"  # the kind of a file
    PICTURE = "picture"
    DEFAULT = "default"


class SafeSearch(StrEnum):
    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


@value_dataclass(frozen=True, slots=True)
class Request:
    """A client's request, as far as the enforcement point knows it.

    `host` is canonical (lower case, A-labels, no trailing dot) or an IP address as text. `url` is set for HTTP only.
    `resource` is the value of Sec-Fetch-Dest, `initiator` the requesting page's host (Referer or Origin). `hides_host`:
    the client encrypts the real host (ECH); `host` is the public name. `dns_type` is such as `AAAA`. `flaw`: an
    unlisted host's server has it (`unlisted.CertificateFlaw`).
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
    flaw: str = ""


@value_dataclass(frozen=True, slots=True)
class Decision:
    """A verdict that explains itself.

    `what` names the category, service, schedule or grant that decided, and `rule` its place in a file. `until` is the
    instant (seconds since the epoch) after which the decision may differ; None if nothing is scheduled to change it.
    `target` is the name that a REWRITE answers with, `note` the policy's remark on a rule that blocks.
    `by_wrong_clock`: it is closed until the clock is right. `may_pass_unread` belongs to INSPECT: no rule depends on
    URLs of the host, so a client that refuses our certificate may be tunnelled. `needs_consent` does too: it may be
    tunnelled once somebody in charge allows the host.
    """

    verdict: Verdict
    reason: Reason
    what: str = ""
    rule: Origin | None = None
    until: float | None = None
    target: str = ""
    note: str = ""
    may_pass_unread: bool = False
    needs_consent: bool = False
    by_wrong_clock: bool = False


class GrantDuration(StrEnum):
    """The length of a grant: an hour, until the next midnight, or for good."""

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
                return datetime.combine(
                    datetime.fromtimestamp(now, zone).date() + timedelta(days=1), time(), zone
                ).timestamp()
            case GrantDuration.GOOD:
                return None


@dataclass(frozen=True, slots=True)
class Grant:
    """A temporary exception: `subject` is the host, URL pattern, service or category that it allows.

    It applies to `device` or `person`, or to everybody if both are None. Instants are seconds since the epoch; `ends`
    None: for good.
    """

    id: str
    subject: str
    actor: str
    starts: float
    ends: float | None = None
    device: DeviceId | None = None
    person: str | None = None
    note: str = ""


@value_dataclass(frozen=True, slots=True)
class Observation:
    """A decision as the journal may store it, after the person's privacy setting was applied (`privacy.observe`).

    `count` is the number of equal decisions since the last report. `host` and `url` are empty where privacy hides them.
    `version` is the id of the rules and lists that decided (`journal.rule_versions`), 0 if unknown.
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
    version: int = 0


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request for access to something blocked, or with `chore` for the minutes of a chore that is done; then `host`
    is empty.
    """

    when: float
    device: DeviceId
    person: str | None
    host: str
    url: str = ""
    reason: str = ""
    note: str = ""
    chore: str = ""


@dataclass(frozen=True, slots=True)
class CodeEntered:
    """A code, read out over the phone, that somebody entered."""

    when: float
    device: DeviceId
    digits: str


class TargetKind(StrEnum):
    """The kind of thing that an item of `allow` or `block` names."""

    SERVICE = "service"
    CATEGORY = "category"
    HOST = "host"  # a domain and everything beneath it, or an IP address
    URL = "url"  # a host and the beginning of a path


class Privacy(StrEnum):
    """The part of a decision that is stored."""

    FULL = "full"  # host and URL
    DOMAIN = "domain"  # host
    CATEGORY = "category"  # only the category or service that decided
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class Target:
    """An item of `allow` or `block`:

    `name` is a service id, a category, a canonical host or `host/path`. `until` None: for good.
    """

    kind: TargetKind
    name: str
    origin: Origin
    until: float | None = None
    note: str = ""
    always: bool = False  # allowed even at bedtime, at times without internet and with a spent budget


@dataclass(frozen=True, slots=True)
class TimedRules:
    """Rules that apply at certain times.

    `internet` BLOCK closes all of it then; ALLOW lifts bedtimes and other closures.

    At all other times `otherwise` is blocked or, with `closed_otherwise`, the whole internet.
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
    unless: str = ""  # condition: applies only to people who have it, until a grant of this subject lifts it


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one scope (profile, household, person, device). None leaves a setting to the wider scope."""

    allow: tuple[Target, ...] = ()
    block: tuple[Target, ...] = ()
    bedtime: Schedule | None = None
    safe_search: SafeSearch | None = None
    youtube: SafeSearch | None = None
    privacy: Privacy | None = None
    budget: tuple[Allowance, ...] | None = None
    schedules: tuple[TimedRules, ...] = ()
    retention: int | None = None  # days for which decisions are stored
    content: ContentRules = field(default_factory=ContentRules)


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of rules, including those of the profile that it extends."""

    name: str
    title: str
    rules: Rules
    why: str = ""
    source: str = ""
    origin: Origin | None = None
    is_for_children: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """An owner of devices. `profile` is resolved: set in the policy, by age, or that of unknown devices.

    Who was `born` on a known day has the age and the profile of the moment at which the policy was read, or put in
    force. `growing.policy_at` has those of another: by `steps`, in order, or by age alone if they are None.
    """

    name: str
    profile: str
    age: int | None = None
    timezone: str | None = None
    rules: Rules = field(default_factory=Rules)
    origin: Origin | None = None
    holidays: tuple[date, ...] | None = None  # None: the network's
    conditions: tuple[str, ...] = ()  # under which schedules with `unless` apply to this person
    upstream: tuple[str, ...] = ()  # resolvers that are asked for this person's devices; empty: the network's
    born: Born | None = None
    steps: tuple[ProfileStep, ...] | None = None
    legal_steps: tuple[LegalStep, ...] = ()
    legal_closings: tuple[LegalClosing, ...] = ()  # those of the last step that has come

    @property
    def all_rules(self) -> Rules:
        """The person's rules with what the law closes, which an allow for the same topic does not open."""
        closed = (
            Target(TargetKind.CATEGORY, each.topic, Origin("law", text=each.law), note=each.law)
            for each in self.legal_closings
        )
        return replace(self.rules, block=(*closed, *self.rules.block)) if self.legal_closings else self.rules


@dataclass(frozen=True, slots=True)
class Device:
    """A device on the network. `known` is false if the policy does not name it; its id then is its address.

    `profile` is resolved, as for a person. Identifiers are lower case: `macs` with colons; `client_id`, its name over
    encrypted DNS; `hostnames`, which can only restrict; `proxy_users`, its sign-in names at the proxy, with the
    Argon2id hash `proxy_password`. `networks` hold single addresses as /32 and /128. A shared device has `sharers` and
    no `person`. `claims`: its host name is that device's.
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
    is_seat: bool = False  # guests use it in turn
    has_profile: bool = False  # its own, for all its users
    client_id: str | None = None
    hostnames: tuple[str, ...] = ()
    proxy_users: tuple[str, ...] = ()
    proxy_password: str | None = field(default=None, repr=False)
    claims: DeviceId | None = None
    kind: DeviceKind | None = None  # as pages show it; None: not said
    tunnel: TunnelPeer | None = None
    upstream: tuple[str, ...] = ()  # as of a person; empty: its person's


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list by absolute `path` or by `url`.

    `format` None: detected. `refresh`: the age in seconds at which a copy is too old.
    """

    name: str
    category: str
    path: str | None = None
    url: str | None = None
    format: str | None = None
    origin: Origin | None = None
    refresh: float | None = None


@dataclass(frozen=True)
class Policy:
    """The validated configuration. Every name in it is known to exist. `household` applies to everybody."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    people: dict[str, Person] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    household: Rules = field(default_factory=Rules)
    lists: tuple[ListSource, ...] = ()
    categories: tuple[str, ...] = ()  # the built-in ones and those that `lists` define
    path: str | None = None
    files: tuple[str, ...] = ()  # other files that it was read from: included files, calendars
    empty: tuple[str, ...] = ()  # its YAML files without any entry
    calendars: tuple[str, ...] = ()  # URLs of calendars with holidays
    conduct: CodeOfConduct | None = None
    # the line that closes seats without a session; None: they are open to a child
    closes_unopened: Origin | None = None
    phrase_lists: tuple[str, ...] = ()  # absolute paths of weighted phrases, in addition to the built-in ones
    notices: dict[str, Receiver] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)  # settings of features as JSON, by their keys
    reports: tuple[WorkerReport, ...] = ()  # what workers report for these features
    # the topics that a site and everything beneath it is not of, whatever lists say
    corrections: dict[str, frozenset[str]] = field(default_factory=dict)

    def settings[Kind: FeatureSettings](self, kind: type[Kind]) -> Kind | None:
        """Return the settings of a feature, None if the policy does not use it."""
        text = self.features.get(kind.KEY)
        return None if text is None else decode_settings(kind, text)

    @cached_property
    def own_upstreams(self) -> frozenset[tuple[str, ...]]:
        """The upstreams of people and devices that have others than the network."""
        found = {person.upstream for person in self.people.values()}
        return frozenset(found | {device.upstream for device in self.devices.values()}) - {()}

    @cached_property
    def used_profiles(self) -> set[str]:
        """The profiles of unknown devices, of people and of devices."""
        return (
            {self.network.unknown_devices}
            | {p.profile for p in self.people.values()}
            | {d.profile for d in self.devices.values()}
        )


@dataclass(frozen=True, slots=True)
class Session:
    """One use of a device: a person at a shared device, or a guest at a seat under `profile`.

    A later session at the same device outranks an earlier one. `accepted`: the instant at which the guest accepted the
    code of conduct.
    """

    id: str
    device: DeviceId
    actor: str
    starts: float
    ends: float | None = None
    person: str | None = None
    profile: str | None = None
    name: str = ""
    accepted: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """The internet stopped by hand for `device`, `person` or everybody, sparing one of each.

    `ends` None: until resumed.
    """

    id: str
    actor: str
    starts: float
    ends: float | None = None
    device: DeviceId | None = None
    person: str | None = None
    note: str = ""
    spared_person: str | None = None
    spared_device: DeviceId | None = None
    kind: PauseKind = PauseKind.ALL
