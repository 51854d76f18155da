"""Facts about hosts that ship with Hedgerow: services and their ages, helplines, search engines and
background traffic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from ipaddress import ip_network
from typing import Any

from hedgerow.policies.safe_search import SearchEngines
from hedgerow.policies.text.addresses import IpNetwork
from hedgerow.policies.text.data_files import names_in, read_data

AGE_BANDS = {0: "child-under-8", 8: "child-8-12", 13: "teen-13-15", 16: "teen-16-17", 18: "adult"}
"""Built-in profiles by the lowest age of each."""
_FIRST_VIEW = (
    frozenset({"children"}),
    frozenset({"children"}),
    frozenset({"everyone", "suicide"}),
    frozenset({"abuse"}),
)
"""Purposes of the helplines that are shown at once: two for children, one for anybody, one for victims of abuse."""
_REPORT_ORDER = {"grooming": 0, "online": 1, "abuse-images": 2}
_MIN_FIRST_VIEW = 3
_MAX_REPORT_VIEW = 4
_PARTS, _CONTENT = "parts", "content"


def parents_of(host: str) -> Iterator[str]:
    """Yield a host and every domain above it.

    >>> list(parents_of("www.example.org"))
    ['www.example.org', 'example.org', 'org']
    """
    while host:
        yield host
        host = host.partition(".")[2]


@cache
def background_hosts(*, with_parts: bool = False) -> dict[str, str]:
    """Return the domains of updates, push messages, telemetry and the like, with the kind of each.

    `with_parts`: also those that many pages and apps are made of, and names beneath them that are content.
    """
    return {
        host: kind
        for kind, hosts in read_data("background.yaml").items()
        if with_parts or kind not in {_PARTS, _CONTENT}
        for host in hosts
    }


@cache
def connectivity_checks() -> frozenset[str]:
    """Return the domains by which devices test their connection or look for a captive portal (RFC 8952)."""
    return frozenset(read_data("background.yaml")["connectivity-checks"])


@cache
def passing_while_closed(*, before_session: bool) -> frozenset[str]:
    """Return the domains that resolve while the internet is closed: time servers, since a bedtime could last for ever
    by a wrong clock.

    `before_session`: at a seat without a session, a device also finds the welcome page by a connectivity check.
    """
    time_servers = frozenset(read_data("background.yaml")["time"])
    return time_servers | connectivity_checks() if before_session else time_servers


def is_background(host: str) -> bool:
    """Return whether devices ask for this host without anybody using them."""
    return background_kind(host) is not None


@lru_cache(4096)
def background_kind(host: str) -> str | None:
    """Return why devices ask for this host without anybody using them, such as `updates`; None if they do not.

    Of a service's domain and one of these, the longer name tells.

    >>> background_kind("au.download.windowsupdate.com"), background_kind("ocsp.digicert.com"), background_kind("a.org")
    ('updates', 'certificates', None)
    >>> background_kind("fonts.googleapis.com"), background_kind("youtubei.googleapis.com")
    ('parts', None)
    >>> background_kind("storage.googleapis.com"), background_kind("ocsp.somebody.example")
    (None, None)
    """
    kinds, facts = background_hosts(with_parts=True), HostFactIndex.load().by_host
    known = (name for name in parents_of(host) if name in kinds or (name in facts and facts[name].services))
    kind = kinds.get(next(known, ""))
    return None if kind == _CONTENT else kind


_TOPIC_OF_GROUP = {"vpn": "bypass"}  # other groups of services have the name of their topic


@dataclass(frozen=True, slots=True)
class Service:
    """A service that people name as one thing, such as TikTok.

    `domains` cover the names beneath them; `urls` are `host/path` patterns of a service that is part of a site.
    `shared` are domains that other services need too: allowed with this one, never blocked with it. `part_of` names the
    service whose domains may cover its own. `yields` are those of its `domains` that stay open for an allowed service
    that shares them, if that is allowed by as near a scope. `is_collection`: unrelated sites under one title. Somebody
    who asks for one of them does not mean the others. `networks` are those of the operator at which the service's app
    uses addresses without names.
    """

    id: str
    group: str
    title: str
    domains: tuple[str, ...]
    urls: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    part_of: str | None = None
    yields: tuple[str, ...] = ()
    note: str = ""
    is_collection: bool = False
    networks: tuple[IpNetwork, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return hosts and URLs that belong to it."""
        return (*self.domains, *(f"https://{pattern.removesuffix('*')}" for pattern in self.urls))

    def is_part_of_site(self, host: str) -> bool:
        """Return whether some of its URLs are at a host."""
        return any(pattern.partition("/")[0] == host for pattern in self.urls)

    @property
    def topic(self) -> str:
        """Return the category that its group is about."""
        return _TOPIC_OF_GROUP.get(self.group, self.group)


class Services:
    """All services, by id."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.by_id = {service.id: service for service in services}

    def needed_by(self, id: str) -> dict[str, tuple[str, ...]]:
        """Return the other services that share domains of this one, with those domains: what they lack while it is
        blocked.
        """
        own = self.by_id[id].domains
        needs = {
            other.id: tuple(name for name in other.shared if name in own)
            for other in self.by_id.values()
            if other.id != id
        }
        return {other: names for other, names in needs.items() if names}

    @staticmethod
    @cache
    def load() -> Services:
        """Load the services that ship with Hedgerow, one file per group."""
        return Services(
            _service(str(id), group, entry)
            for group in names_in("services")
            for id, entry in (read_data(f"services/{group}.yaml") or {}).items()
        )


def _service(id: str, group: str, entry: dict[str, Any]) -> Service:
    names = {key: tuple(map(str, entry.get(key) or ())) for key in ("domains", "urls", "shared", "yields")}
    return Service(
        id,
        group,
        title=str(entry["title"]),
        part_of=entry.get("part_of"),
        note=str(entry.get("note") or ""),
        is_collection=bool(entry.get("collection")),
        networks=tuple(ip_network(each) for each in (entry.get("networks") or {}).get("addresses", ())),
        **names,
    )


INTERNATIONAL = "int"


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A helpline.

    `country` is ISO 3166 alpha-2 in lower case, or `int` for all countries; `hosts` cover the names beneath them.

    A reporting body has the kind `report`, an emergency number `emergency`, with neither URL nor hosts.
    """

    name: str
    country: str
    url: str
    hosts: tuple[str, ...]
    source: str = ""
    phone: str = ""
    chat: str = ""
    text: str = ""
    purpose: str = ""  # the file's `for`: children, everyone, abuse, suicide, …
    kinds: tuple[str, ...] = ("talk",)


class Lifelines:
    """All helplines, by host and by country."""

    def __init__(self, lifelines: Iterable[Lifeline]) -> None:
        self.all = tuple(lifelines)
        self.hosts = frozenset(host for lifeline in self.all for host in lifeline.hosts)

    @staticmethod
    @cache
    def load() -> Lifelines:
        """Load the helplines that ship with Hedgerow."""
        return Lifelines(_lifeline(entry) for entry in read_data("lifelines.yaml"))

    def for_country(self, country: str | None) -> tuple[Lifeline, ...]:
        """Return the entries of a country, then the international ones; those for children first in each group."""
        local = [lifeline for lifeline in self.all if country and lifeline.country == country.lower()]
        abroad = [lifeline for lifeline in self.all if lifeline.country == INTERNATIONAL]
        return tuple(
            lifeline
            for group in (local, abroad)
            for lifeline in sorted(group, key=lambda each: each.purpose != "children")
        )


def _lifeline(entry: dict[str, Any]) -> Lifeline:
    kinds = entry.get("kind") or ["talk"]
    details = {key: str(entry.get(key) or "") for key in ("url", "source", "phone", "chat", "text")}
    return Lifeline(
        name=str(entry["name"]),
        country=str(entry["country"]),
        hosts=tuple(map(str, entry.get("hosts") or ())),
        purpose=str(entry.get("for") or ""),
        kinds=tuple(map(str, kinds)) if isinstance(kinds, list) else (str(kinds),),
        **details,
    )


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts about a host and everything beneath it.

    `shared` names services that need the host without owning it. `yields`: it stays open for an allowed one of them.
    """

    lifeline: bool = False
    never_inspect: bool = False
    unsafe_search: bool = False
    services: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    yields: bool = False


class HostFactIndex:
    """Facts by domain: look up a host and each of its parents in `by_host`."""

    def __init__(
        self, services: Services, lifelines: Lifelines, engines: SearchEngines, never_inspect: Iterable[str]
    ) -> None:
        self.services = services
        self.engines = engines
        owned, shared = defaultdict(list), defaultdict(list)
        for service in services.by_id.values():
            for host in service.domains:
                owned[host].append(service.id)
            for host in service.shared:
                shared[host].append(service.id)
        yielded = {host for service in services.by_id.values() for host in service.yields}
        never_inspected = frozenset(never_inspect)
        hosts = owned.keys() | shared.keys() | lifelines.hosts | engines.without_safe_mode | never_inspected
        self.by_host = {
            host: HostFacts(
                lifeline=host in lifelines.hosts,
                never_inspect=host in never_inspected,
                unsafe_search=host in engines.without_safe_mode,
                services=tuple(owned[host]) if host in owned else (),
                shared=tuple(shared[host]) if host in shared else (),
                yields=host in yielded,
            )
            for host in hosts
        }

    def services_of(self, host: str) -> list[str]:
        """Return the services that own a host or one of its parents."""
        return [id for domain in parents_of(host) if domain in self.by_host for id in self.by_host[domain].services]

    @staticmethod
    @cache
    def load() -> HostFactIndex:
        """Load the facts that ship with Hedgerow."""
        groups = read_data("never_inspect.yaml").values()
        return HostFactIndex(
            Services.load(), Lifelines.load(), SearchEngines.load(), (host for group in groups for host in group)
        )


@dataclass(frozen=True, slots=True)
class ServiceAge:
    """The youngest band, a key of `AGE_BANDS`, in which profiles open a service without a rule of the household, and
    the reason.
    """

    open_from: int
    why: str


@cache
def service_ages() -> dict[str, ServiceAge]:
    """Return the age of each service, by its id. An exception replaces the age of the service's group."""
    data, services = read_data("service_ages.yaml"), Services.load().by_id.values()
    stated = {each.id: data["services"].get(each.id) or data["groups"][each.group] for each in services}
    return {id: ServiceAge(int(entry["from"]), str(entry["why"])) for id, entry in stated.items()}


@dataclass(frozen=True, slots=True)
class HelpChoices:
    """Help for a child in three kinds. `talk` are the three or four helplines that fit best, `more` all others.

    `report` is never empty. `emergency` is empty if no number is surely known.
    """

    talk: tuple[Lifeline, ...]
    more: tuple[Lifeline, ...]
    report: tuple[Lifeline, ...]
    emergency: tuple[Lifeline, ...]


def help_choices(lifelines: Sequence[Lifeline]) -> HelpChoices:
    """Sort the entries of a country and the international ones, as `Lifelines.for_country` returns them."""
    # Sorting is stable, so equal ones stay in the order of the file.
    ordered = sorted(lifelines, key=lambda each: not (each.phone or each.text or each.chat))
    emergency = tuple(each for each in ordered if "emergency" in each.kinds)
    report, talk = _reporting_bodies(ordered), _first_helplines([each for each in ordered if "talk" in each.kinds])
    rest = sorted(
        (each for each in ordered if each not in (*talk, *emergency)), key=lambda each: each.country == INTERNATIONAL
    )
    return HelpChoices(talk, tuple(rest), report, emergency)


def _first_helplines(ordered: Sequence[Lifeline]) -> tuple[Lifeline, ...]:
    local = [each for each in ordered if each.country != INTERNATIONAL]
    first: list[Lifeline] = []
    for purposes in _FIRST_VIEW:
        first += [each for each in local if each.purpose in purposes and each not in first][:1]
    abroad = [each for each in ordered if each.country == INTERNATIONAL and each.purpose in {"children", "everyone"}]
    return (*first, *abroad[: max(0, _MIN_FIRST_VIEW - len(first))])


def _reporting_bodies(ordered: Sequence[Lifeline]) -> tuple[Lifeline, ...]:
    """Return those of the country, for people who approach children first, then the international ones."""
    bodies = [each for each in ordered if "report" in each.kinds]
    bodies.sort(key=lambda each: (each.country == INTERNATIONAL, _REPORT_ORDER.get(each.purpose, len(_REPORT_ORDER))))
    return tuple(bodies[:_MAX_REPORT_VIEW])


_SECOND_LEVEL_LETTERS = 3


@lru_cache(4096)
def subject_of(host: str) -> str | None:
    """Return the service or the site of a host, or None for background traffic.

    >>> subject_of("i.ytimg.com"), subject_of("www.bbc.co.uk"), subject_of("en.wikipedia.org")
    ('youtube', 'bbc.co.uk', 'wikipedia.org')
    """
    if is_background(host):
        return None
    services = HostFactIndex.load().services_of(host)
    if services:
        return services[0]
    above = list(parents_of(host))
    if len(above) < 3:
        return host
    return above[-3] if len(above[-2].partition(".")[0]) <= _SECOND_LEVEL_LETTERS else above[-2]
