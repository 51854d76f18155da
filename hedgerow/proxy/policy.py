"""The proxy's view of a snapshot: callables for decisions, resolution and reports, and the destinations that may be
dialled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from hedgerow.blocklists.address_ranges import embedded_ipv4, is_public, unwrap_ipv4
from hedgerow.client_classes import ClassedClient, named_client, unnamed_client
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, CodeEntered, Decision, Device, DeviceId, Request, Verdict
from hedgerow.policies.network import WEB_PORTS
from hedgerow.policies.remembered import PageRecognised
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.seats import ConductAccepted
from hedgerow.proxy.own_pages import OwnPages
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.scanners.scanner import ScoringScanner
from hedgerow.proxy.scanners.topics import ListedTopics
from hedgerow.proxy.sign_in import SignInRules
from hedgerow.values import BoundedDict

type IpNetwork = IPv4Network | IPv6Network

_SIX_TO_FOUR = b"\x20\x02"  # 2002::/16, whose relays are gone (RFC 7526)
_MAX_CACHED_ADDRESSES = 4096


@dataclass(frozen=True)
class DestinationGuard:
    """The destinations that may be dialled: the internet, and nothing of the local network unless the policy opens it.

    The proxy is inside the network and acts for anybody, so without this it would be a way round every firewall
    rule. `reachable` are networks that are open although private, and `ports` the destination ports that are served.
    `home_networks` may have public addresses too, as with IPv6 they mostly have. `own` returns this machine's
    addresses.
    """

    reachable: tuple[IpNetwork, ...] = ()
    ports: frozenset[int] = frozenset(WEB_PORTS)
    home_networks: tuple[IpNetwork, ...] = ()
    own: Callable[[], frozenset[str]] = frozenset
    _known: dict[str, bool] = field(
        default_factory=partial(BoundedDict, _MAX_CACHED_ADDRESSES), compare=False, repr=False
    )

    def allows(self, address: str) -> bool:
        """True if an IP address, as text, may be dialled."""
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._classify(ip_address(address).packed)
        return known

    def allowed(self, addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple([address for address in addresses if self.allows(address)])

    def _classify(self, packed: bytes) -> bool:
        written = ip_address(unwrap_ipv4(packed))
        if any(written in network for network in self.reachable):
            return True
        if packed.startswith(_SIX_TO_FOUR) or not is_public(packed):
            return False
        return not any(self._is_local(each) for each in (packed, *embedded_ipv4(packed)))

    def _is_local(self, packed: bytes) -> bool:
        address = ip_address(packed)
        return str(address) in self.own() or any(address in network for network in self.home_networks)


class ResolvedHost(Protocol):
    """The answer of our resolver to the question for a host."""

    @property
    def addresses(self) -> Sequence[str]:
        """The addresses in the order in which to dial them."""

    @property
    def decision(self) -> Decision:
        """The decision on the host's name."""

    @property
    def failed(self) -> bool:
        """True if no upstream answered."""


class HostResolution(Protocol):
    """Resolution of hosts with our own resolver."""

    async def __call__(
        self, ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False
    ) -> ResolvedHost:
        """Resolve a host for a device.

        `url_is_allowed`: the URL has been allowed, so the name itself is not judged again, only what it stands for.
        """


@dataclass(frozen=True, slots=True)
class ProxyPolicy:
    """All that a snapshot tells the proxy.

    - `find_client` returns the device at an address (or `user:NAME`, once signed in) and its ruleset now; None for
      outsiders.
    - `decide` judges a request with the snapshot's catalogue; `resolve` looks a host up.
    - `apply_pass_through` adapts the decision on a tunnel whose host is passed through to the device at the moment.
    - `observe`, `request_access`, `submit_code` and `accept_conduct` report to control and never block.
    - `denied_at` returns the instant at which a device's last request for a service or host was denied, None if it was
      not or long ago, and `denial_reason` what the person who denied it said.
    - `open_until` returns the instant at which a device that is open closes, or the given instant if that is sooner.
    - `report_protection` is called with each connection that shows which protections a device uses.
    - `report_use` is called for a busy connection each time the gate or an inspector sweeps, with the bytes of this
      minute.
    - `is_examined` tells whether nothing is known of a host, or anybody can rent its like, so that its server is
      examined before a tunnel to it is joined.
    - `may_be_remembered` tells whether a host may be remembered for its pages, which `report_page` reports. `listed`
      are the lists' names.
    - `corrected_topics` returns the topics that a host is not of, as somebody in charge has said.
    - `phrase_lists` are files of weighted phrases, in addition to ours. `pages` are our own, open to every device.
    - `scoring` are the scanners of features in use.
    - `proxy_protocol_from` are the load balancers whose connections begin with the client's address.
    """

    find_client: Callable[[str], tuple[Device, Ruleset] | None]
    decide: Callable[[Ruleset, Request], Decision]
    resolve: HostResolution
    observe: Callable[[Device, Ruleset, Request, Decision], None]
    request_access: Callable[[AccessRequest], None]
    guard: DestinationGuard
    page: BlockPage
    report_use: Callable[[Ruleset, Request, int], None] = lambda _ruleset, _request, _octets: None
    submit_code: Callable[[CodeEntered], None] = lambda _code: None
    accept_conduct: Callable[[ConductAccepted], None] = lambda _accepted: None
    apply_pass_through: Callable[[Ruleset, Request, Decision], Decision] = lambda _ruleset, _request, decision: decision
    sign_in: SignInRules = field(default_factory=SignInRules)
    phrase_lists: tuple[str, ...] = ()
    pages: OwnPages | None = None
    report_protection: Callable[[DeviceId, Protection], None] = lambda _device, _protection: None
    denied_at: Callable[[DeviceId, str], float | None] = lambda _device, _subject: None
    denial_reason: Callable[[DeviceId, str], str] = lambda _device, _subject: ""
    open_until: Callable[[Device, float, float], float] = lambda _device, _now, end: end
    is_examined: Callable[[Ruleset, str], bool] = lambda _ruleset, _host: False
    proxy_protocol_from: tuple[IpNetwork, ...] = ()
    may_be_remembered: Callable[[str], bool] = lambda _host: False
    report_page: Callable[[PageRecognised], None] = lambda _page: None
    listed: ListedTopics | None = None
    scoring: tuple[ScoringScanner, ...] = ()
    corrected_topics: Callable[[str], tuple[str, ...]] = lambda _host: ()


def class_of(address: str, device: Device) -> ClassedClient:
    """Return the client at an address (or `user:NAME`, once signed in), which is a device, as limits see it."""
    return named_client(device.id) if device.known else unnamed_client(address, device.id)


_STRICTNESS = {Verdict.ALLOW: 0, Verdict.REWRITE: 1, Verdict.INSPECT: 2, Verdict.BLOCK: 3}


def strictest(decisions: Sequence[tuple[Request, Decision]]) -> tuple[Request, Decision]:
    """The strictest of several decisions, with its request: where a client names several hosts (CONNECT, SNI, Host) all
    are judged.
    """
    return decisions[0] if len(decisions) == 1 else max(decisions, key=lambda each: _STRICTNESS[each[1].verdict])


class ResolvedHostCache:
    """Answers of the resolver for a few seconds, by ruleset: a page opens many connections to one host."""

    def __init__(self, resolve: HostResolution, seconds: float = 5.0, limit: int = 4096) -> None:
        self._resolve = resolve
        self._seconds = seconds
        self._known = BoundedDict[tuple[Ruleset, str], tuple[float, ResolvedHost]](limit)

    def known(self, ruleset: Ruleset, host: str, now: float) -> ResolvedHost | None:
        """Return the cached answer, if there is one. `now` is in seconds since the epoch."""
        expires, known = self._known.get((ruleset, host), (0.0, None))
        return known if now < expires else None

    async def resolve(self, ruleset: Ruleset, device: DeviceId, host: str, now: float) -> ResolvedHost:
        """Return the cached or a new answer of `ProxyPolicy.resolve`. `now` is in seconds since the epoch."""
        if (known := self.known(ruleset, host, now)) is not None:
            return known
        resolved = await self._resolve(ruleset, device, host)
        if resolved.addresses:
            self._known[ruleset, host] = (now + self._seconds, resolved)
        return resolved


class Counters(dict[tuple[str, ...], float]):
    """Cumulative counts by metric name and label values."""

    def add(self, *key: str, count: float = 1) -> None:
        self[key] = self.get(key, 0) + count
