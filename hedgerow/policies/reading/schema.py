"""Schema of the policy file as people write it; `resolve` makes a Policy of it.

Each model is a mapping of the file. Unknown keys are errors. `resolve`, which knows the whole file, checks times,
domains and profiles.

The keys of features are part of it: `FEATURE_KEYS` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, WithJsonSchema, create_model

from hedgerow.features import FEATURES
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.model import Privacy, SafeSearch
from hedgerow.policies.network import (
    BlockedAnswer,
    DnssecMode,
    ListSelection,
    ProxySignIn,
    UnopenedSeatAccess,
    UpstreamStrategy,
)
from hedgerow.policies.reading.feature_keys import FeatureKey, ScoreKey, extended, with_scores
from hedgerow.policies.reading.schema_types import (
    BUDGET,
    Rate,
    RawModel,
    RawTimes,
    Switch,
    Texts,
    TextsByName,
    empty_mappings,
    managed,
    managed_dates,
    off,
    reserved,
)
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS, LISTENERS

FEATURE_KEYS: tuple[FeatureKey, ...] = tuple(key for feature in FEATURES for key in feature.policy_keys())
"""The keys of all features, in the order in which they are read."""

SCORE_KEYS: tuple[ScoreKey, ...] = tuple(key for feature in FEATURES for key in feature.score_keys())
"""The keys of rules for the scanners of features."""

CONDITIONS = {name: text for feature in FEATURES for name, text in feature.conditions.items()}
"""Conditions under which a schedule applies to those who have them, each named as the key of a person that sets it."""


def _with_features(*place: str) -> Callable[[type[RawModel]], type[RawModel]]:
    return lambda model: extended(model, place, FEATURE_KEYS)


def _with_scores(model: type[RawModel]) -> type[RawModel]:
    return with_scores(model, SCORE_KEYS)


def _items(value: object) -> object:
    """Read an item of text as a mapping."""
    listed = [value] if isinstance(value, str) else value
    return (
        [item if isinstance(item, dict) else {"what": item} for item in listed] if isinstance(listed, list) else value
    )


class RawItem(RawModel):
    """An item of `allow` or `block`."""

    what: str = managed(description="A service, a category, a domain or the beginning of a URL.")
    until: str | None = managed(
        None, description="Date or time at which the item expires, such as `2026-12-24` or `2026-12-24 18:00`."
    )
    note: str = managed("", description="Shown with the item, also to the person whose rule it is.")


RawItems = Annotated[list[RawItem], BeforeValidator(_items, json_schema_input_type=str | list[str | RawItem])]


def _with_conditions(model: type[RawModel]) -> type[RawModel]:
    """Return a model with the key `unless`, if a feature has a condition."""
    texts = " ".join(f"`{name}`: {text}" for name, text in CONDITIONS.items())
    kind: Any = Literal.__getitem__(tuple(CONDITIONS)) if CONDITIONS else None
    added: dict[str, Any] = {"unless": (kind | None, managed(None, description=texts))} if CONDITIONS else {}
    return create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **added)


@_with_conditions
class RawSchedule(RawModel):
    """Rules for certain times.

    `allow` and `block` also take `internet`. Items of `only` are open at these times and blocked at others.
    """

    allow: RawItems = managed([], description="Opened at these times; `internet` lifts a bedtime.")
    block: RawItems = managed([], description="Closed at these times; `internet` closes everything but helplines.")
    only: RawItems = managed([], description="Open at these times and closed at all others.")
    when: RawTimes = managed(description='Times: spans such as `"20:30-07:00"`, days, or spans by days.')
    note: str = managed("", description="Shown with the schedule.")


class RawPageScan(RawModel):
    """Scanning of pages.

    `limit`: the score above which one is blocked, 0 for never. `everywhere`: decrypt all HTTPS for it.
    """

    limit: Annotated[StrictInt, Field(ge=0, le=100_000)] | None = managed(
        None, description="Score above which a page is blocked; 0: never."
    )
    everywhere: Switch | None = managed(
        None, description="Decrypt all HTTPS of trusting devices, not only hosts with rules about URLs."
    )


_Percent = Annotated[StrictInt, Field(ge=0, le=100)]


class RawNameRecognition(RawModel):
    """Thresholds of confidence for unlisted sites that look like a blocked category by their names."""

    block: _Percent | None = managed(
        None, description="Confidence in percent from which the site is blocked; 0 for never."
    )
    mark: _Percent | None = managed(
        None, description="Confidence in percent from which it is only marked in the log; 0 for never."
    )


class RawTenants(RawModel):
    """Organisations whose accounts are allowed, by domain. `directory`: the id of your own directory at Microsoft."""

    google: Texts = managed([], description="Domains of the Google organisations whose accounts are allowed.")
    microsoft: Texts = managed([], description="Domains of the Microsoft organisations whose accounts are allowed.")
    directory: str | None = managed(None, description="Id of your own directory at Microsoft.")


@_with_scores
class RawRules(RawModel):
    """Rules of the whole network, a profile, a person or a device.

    Items of `always` are open even at bedtime and with a spent budget.
    """

    always: RawItems = managed(
        [], description="Allowed even at bedtime, at times without internet and with a spent budget."
    )
    allow: RawItems = managed([], description="Allowed although a list or a wider scope blocks it.")
    block: RawItems = managed([], description="Blocked: services, categories, domains or the beginnings of URLs.")
    bedtime: RawTimes = managed(
        None, description="Times without internet; days may name `school-nights` and `weekend`."
    )
    budget: Annotated[Any, WithJsonSchema(BUDGET)] = managed(
        None, description="Time per day or week, in all or for a category or service."
    )
    schedules: Annotated[dict[str, RawSchedule], BeforeValidator(empty_mappings)] = managed(
        {}, description="Rules for certain times, by a name of your choice."
    )
    safe_search: SafeSearch | None = managed(None, description="Safe mode of search engines.")
    youtube: SafeSearch | None = managed(None, description="YouTube's restricted mode.")
    privacy: Privacy | None = managed(None, description="The part of a decision that is stored.")
    retention: Annotated[StrictInt, Field(ge=0, le=3650)] | None = managed(
        None, description="Days for which decisions are stored."
    )
    pass_through: Switch | None = managed(
        None, description="Tunnel a host whose app refuses our certificate; false blocks it."
    )
    page_scan: Annotated[RawPageScan, BeforeValidator(lambda value: off(value, "limit"))] | None = managed(
        None, description="Scan the words of pages; `off` for never."
    )
    block_searches: Texts = managed(
        [], description="Whole words that no search may have, in addition to those of wider scopes."
    )
    block_files: Texts | None = managed(
        None, description="Kinds of files that are blocked: `executables`, `archives`, `torrents`, `macros`."
    )
    youtube_only: Texts | None = managed(
        None,
        description="Channels and videos of YouTube that are open, on inspected devices; all else of it is closed.",
    )
    recognise_names: (
        Annotated[RawNameRecognition, BeforeValidator(lambda value: off(value, "block", "mark"))] | None
    ) = managed(None, description="Judge sites that no list has by their names; `off` for never.")
    tenants: RawTenants | None = managed(
        None, description="Organisations whose accounts are allowed at Google and Microsoft."
    )


_LISTENER_TITLES = {
    "dns": "DNS over UDP and TCP",
    "proxy": "the proxy",
    "web": "the web pages",
    "transparent": "connections that the router redirects",
}
_LISTEN_FIELDS: dict[str, Any] = {
    name: (
        str | None,
        reserved(
            None, description=f"ADDRESS:PORT of {_LISTENER_TITLES.get(name) or ENCRYPTED_TRANSPORTS[name].title}."
        ),
    )
    for name in LISTENERS
}
RawListen = create_model("RawListen", __base__=RawModel, **_LISTEN_FIELDS)


class RawCertificate(RawModel):
    """PEM files of a certificate that other devices trust."""

    chain: str = reserved(description="Absolute path of the certificate and its chain, PEM.")
    key: str = reserved(description="Absolute path of the private key, PEM.")


class RawQueryLimit(RawModel):
    per_client: Rate | None = managed(None, description="Queries per second allowed per client; 0 for no limit.")
    total: Rate | None = managed(None, description="Queries per second allowed in total; 0 for no limit.")
    exempt: Texts | None = managed(
        None, description="Addresses and networks that are not counted; loopback by default."
    )


class RawTunnel(RawModel):
    """The WireGuard tunnel by which devices stay at home wherever they are."""

    endpoint: str = reserved(
        description="Name or address of this network on the internet, with a port if it is not `port`."
    )
    port: StrictInt | None = reserved(None, description="UDP port at which this machine listens; 51820 by default.")
    subnets: Texts | None = reserved(
        None, description="Addresses inside the tunnel: at most one network of each family."
    )


class RawBundle(RawModel):
    """The signed bundle that `hedgerow organisation bundle` writes."""

    url: str = reserved(description="Address of its `bundle.json`.")
    key: str = reserved(description="Public key of whoever signs it, as `hedgerow organisation bundle` prints it.")
    group: str = reserved("", description="The group of sites whose policy holds here, too.")
    lists: bool = reserved(
        True, description="Use the bundle's compiled lists; `false` to always fetch and compile lists here."
    )


@_with_features("network")
class RawNetwork(RawModel):
    timezone: str | None = managed(
        None, description="Time zone of the household, such as `Europe/Lisbon`; by default this machine's."
    )
    country: str | None = managed(
        None, description="Two-letter code (ISO 3166) that selects the helplines on block pages."
    )
    unknown_devices: str | None = managed(None, description="Profile of devices that the policy does not name.")
    lan: Texts | None = reserved(
        None, description="Addresses and networks that are served; by default the private ranges."
    )
    listen: RawListen = reserved(RawListen(), description="Addresses and ports that are listened on.")
    server_name: str | None = reserved(None, description="Name of the encrypted DNS server.")
    certificate: RawCertificate | None = reserved(
        None,
        description="Certificate of the encrypted DNS server that other devices trust; by default one of our own CA.",
    )
    reachable: Texts = reserved(
        [], description="Private addresses and networks that names may resolve to and the proxy opens."
    )
    ports: list[StrictInt] | None = managed(
        None, description="Destination ports that the proxy opens; by default Cloudflare's web ports."
    )
    flows: Texts | None = managed(
        None,
        description=(
            "Connections to addresses without a name that children's devices may open behind the gateway; "
            "by default `calls`, `push` and `games`."
        ),
    )
    upstream: Texts = reserved(
        [], description="Resolvers that are asked, such as `tls://dns.quad9.net`; by default the system's."
    )
    upstream_strategy: UpstreamStrategy | None = managed(None, description="The order in which upstreams are asked.")
    forward: TextsByName = reserved({}, description="Resolvers of a domain or a network's reverse zone, by its name.")
    records: TextsByName = managed({}, description="Addresses of local names, by name.")
    blocked_answer: BlockedAnswer | None = managed(None, description="The answer to a query for a blocked name.")
    block_page: Texts = reserved(
        [], description="Addresses of the block page, for `blocked_answer: page` (default: this machine's)."
    )
    dnssec: DnssecMode | None = managed(None, description="`validate` accepts encrypted upstreams that validate only.")
    client_subnet: str | None = reserved(
        None, description="Network that is sent to public upstreams with every query (RFC 7871)."
    )
    forwarders: Texts = reserved([], description="Addresses of resolvers that may name the client for whom they ask.")
    proxy_protocol_from: Texts = reserved(
        [],
        description=(
            "Addresses of load balancers, whose connections begin with the client's address (PROXY protocol,"
            " version 2)."
        ),
    )
    query_limit: RawQueryLimit = managed(RawQueryLimit(), description="Limits of queries per second.")
    lists: ListSelection | None = managed(
        None, description="The lists that are used in addition to those under `lists`."
    )
    holidays: Texts = managed_dates(
        [], description="Dates, ranges of dates, and calendars (files or URLs) without school."
    )
    wpad: Texts = managed(
        [], description="Domains of devices, such as `lan`, in which browsers find the proxy by name (WPAD)."
    )
    proxy_sign_in: ProxySignIn | None = managed(None, description="The devices that must sign in to the proxy.")
    store: str | None = reserved(
        None,
        description=(
            "URL of the PostgreSQL database for what is recorded, without a password (default: a file). Read at the"
            " start."
        ),
    )
    site: str | None = reserved(
        None, description="Name of this network in a store that several share, such as `cafe-3`; `home` by default."
    )
    tunnel: RawTunnel | None = reserved(None, description="The WireGuard tunnel home, for devices that are away.")
    bundle: RawBundle | None = reserved(
        None, description="Signed bundle with the policies above this site, for sites without a shared store."
    )
    new_sites_days: Annotated[StrictInt, Field(ge=0, le=90)] | None = managed(
        None,
        description=(
            "Days for which a site that this network has not seen before belongs to `new-domains`; 7 by default, 0 for"
            " never."
        ),
    )


def _year_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


@_with_features("people", "*")
class RawPerson(RawRules):
    age: Annotated[StrictInt, Field(ge=0, le=130)] | None = managed(
        None, description="Age in years; chooses a profile where none is named."
    )
    born: Annotated[str, BeforeValidator(_year_as_text, json_schema_input_type=str)] | None = managed(
        None, description="Month or day of birth, such as `2016-05`; instead of an age, which then is always right."
    )
    profile: str | None = managed(None, description="Profile whose rules the person begins with.")
    timezone: str | None = managed(None, description="Time zone of the person's schedules, instead of the household's.")
    devices: Texts = managed([], description="Names of the person's devices; a device of several people is shared.")
    holidays: Texts | None = managed_dates(
        None, description="Dates and calendars without school, instead of the household's."
    )
    upstream: Texts = reserved([], description="Resolvers that are asked for the person, instead of the network's.")


class RawTunnelPeer(RawModel):
    """A device's end of the tunnel; `hedgerow away add` makes it."""

    key: str = managed(description="The device's public key (WireGuard).")
    number: StrictInt = managed(description="The device's place in each of the tunnel's subnets, from 2.")


class RawDevice(RawRules):
    mac: Texts = managed([], description="MAC addresses.")
    ip: Texts = managed([], description="IP addresses.")
    cidr: Texts = managed([], description="Networks of addresses, such as `192.168.1.64/28`.")
    client_id: str | None = managed(None, description="Name in the device's encrypted DNS settings.")
    tunnel: RawTunnelPeer | None = managed(None, description="The device's end of the tunnel home.")
    hostname: Texts = managed([], description="Host names that the device gives itself; they only restrict.")
    proxy_user: Texts = managed([], description="User names under which the device signs in to the proxy.")
    proxy_password: str | None = managed(
        None, description="Hash of the password with which the device signs in to the proxy."
    )
    kind: DeviceKind | None = managed(
        None, description="Kind of the device, for its icon on the pages; by default a guess."
    )
    profile: str | None = managed(
        None, description="Profile of the device; by default its person's, for a seat a child's."
    )
    trusts_ca: Switch = managed(
        False, description="The device trusts Hedgerow's certificate, so that its HTTPS can be inspected."
    )
    never_inspect: Switch = managed(False, description="Never decrypt HTTPS of this device.")
    upstream: Texts = reserved(
        [], description="Resolvers that are asked for the device, instead of its person's or the network's."
    )


class RawProfile(RawRules):
    extends: str | None = managed(
        None, description="Profile that this one changes; in its lists, `+` adds an item and `-` removes one."
    )
    title: str = managed("", description="Name for people.")
    why: str = managed("", description="Reason for the profile's rules.")
    source: str = managed("", description="Source of that reason.")


class RawSeat(RawDevice):
    """A café's seat: a device that guests use in turn."""


@_with_features("devices", "*")
class RawNamedDevice(RawDevice):
    """A device that is not a seat, with the keys of features."""


class RawList(RawModel):
    source: str | None = managed(None, description="Id of a public list that Hedgerow knows.")
    category: str | None = managed(None, description="Category of the list's entries.")
    url: str | None = managed(None, description="URL from which the list is downloaded.")
    path: str | None = reserved(None, description="File or folder of the list, relative to the policy file.")
    format: str | None = managed(None, description="Format of the list; by default detected from its content.")
    name: str | None = managed(None, description="Name of the list in reports.")
    refresh: str | None = managed(None, description="How long a copy can be relied on, such as `12h`, `1d` or `2w`.")


class RawReceiver(RawModel):
    """A receiver of notices: topics (default: all), language, quiet hours, and times of the digest and the weekly
    report.
    """

    about: Texts | None = managed(None, description="Topics that are sent; by default all but `refused`.")
    language: str | None = managed(None, description="Language of the notices, such as `pt-BR`.")
    quiet: RawTimes = managed(None, description="Times in which notices wait.")
    digest: str | None = managed(None, description="Time of day at which the day's notices are sent as one message.")
    report: str | None = managed(None, description="Day and time of the weekly report, such as `sun 18:00`.")


@_with_features()
class RawPolicy(RawRules):
    network: RawNetwork = managed(
        RawNetwork(), description="Settings of the network: resolver, listeners, local networks."
    )
    people: Annotated[dict[str, RawPerson], BeforeValidator(empty_mappings)] = managed(
        {}, description="People with their rules, by name."
    )
    devices: Annotated[dict[str, RawNamedDevice], BeforeValidator(empty_mappings)] = managed(
        {}, description="Devices with their rules, by name."
    )
    profiles: Annotated[dict[str, RawProfile], BeforeValidator(empty_mappings)] = managed(
        {}, description="Changes of built-in profiles, and profiles of your own, by name."
    )
    lists: list[RawList] = managed([], description="Lists of your own, and public lists by their id.")
    corrections: TextsByName = managed({}, description="Sites that are not of a topic, whatever lists say, by topic.")
    seats: Annotated[dict[str, RawSeat], BeforeValidator(empty_mappings)] = managed(
        {}, description="Seats of a café, each a device that guests use in turn, by name."
    )
    include: Texts = reserved([], description="Further policy files beside this one, such as `people/*.yaml`.")
    locked: Texts = reserved(
        [], description="Keys that the levels below may not give, such as `network.upstream` or `profiles.*.allow`."
    )
    code_of_conduct: str | None = reserved(None, description="Text file that a guest accepts before a session.")
    unopened_seats: UnopenedSeatAccess | None = managed(
        None, description="Access at a café's seat that has no session."
    )
    phrase_lists: Texts = reserved(
        [], description="Files of weighted phrases in e2guardian's format, beside the policy file."
    )
    notices: Annotated[dict[str, RawReceiver], BeforeValidator(empty_mappings)] = managed(
        {}, description="Receivers of notices, by name."
    )
