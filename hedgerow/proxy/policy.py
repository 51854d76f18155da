"""Which destinations a filtered device may reach through the proxy: the internet, and nothing of the house unless allowed.

Without this, the proxy would be a way round every firewall rule: it stands inside, and asks on behalf of anybody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from hedgerow.policies.model import AccessRequest, CodeEntered, ConductAccepted, Decision, Device, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.sign_in import SignInRules

type IpNetwork = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True)
class DestinationGuard:
    """`reachable` are networks that are open although private, `ports` the destination ports served.

    `house` are the networks at home, which may have public addresses too (of IPv6 it mostly has). `own` gives this machine's addresses.
    """

    reachable: tuple[IpNetwork, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})
    house: tuple[IpNetwork, ...] = ()
    own: Callable[[], frozenset[str]] = frozenset
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def allows(self, address: str) -> bool:
        """Whether an IP address, as text, may be dialled."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= 4096:
                self._known.clear()
            known = self._known[address] = self._classify(address)
        return known

    def allowed(self, addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple(address for address in addresses if self.allows(address))

    def _classify(self, address: str) -> bool:
        meant = _embedded_addresses(ip_address(address))
        if any(each in network for each in meant[:1] for network in self.reachable):
            return True
        return all(_is_public(each) and not self._is_ours(each) for each in meant)

    def _is_ours(self, address: IPv4Address | IPv6Address) -> bool:
        return str(address) in self.own() or any(address in each for each in self.house)


def _embedded_addresses(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """The address and every IPv4 address that is hidden in it, that first which it stands for."""
    if isinstance(address, IPv4Address):
        return (address,)
    hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        hidden.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = tuple(each for each in hidden if each is not None)
    return inner if address.ipv4_mapped or address in _NAT64 else (address, *inner)


@functools.cache
def _non_web_networks() -> tuple[IpNetwork, ...]:
    """What `is_global` calls global although no web server lives there."""
    return tuple(ip_network(text) for text in ("224.0.0.0/4", "ff00::/8", "192.88.99.0/24", "fec0::/10", "::/96"))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not any(address in network for network in _non_web_networks())


class ResolvedHost(Protocol):
    """What our resolver says of a host: addresses to dial in order, and what was decided when the name was asked for."""

    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def decision(self) -> Decision: ...


class HostResolution(Protocol):
    """Asks our own resolver on behalf of a device. `page_is_open`: the URL that is wanted was judged, so that the name as such does not
    count, only what it stands for."""

    async def __call__(self, ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False) -> ResolvedHost: ...


@dataclass(frozen=True, slots=True)
class ProxyPolicy:
    """`client_of` names the device at an address (or `user:NAME`, of who signed in) and what holds for it now, None for outsiders.

    `decide` has the catalogue bound.

    `passed` is told what was decided on a tunnel, and says what holds where its host is passed through to the device at the moment.

    `observe` and `ask` hand on and never block; `use` is told, again and again, of a tunnel that is busy; `code` of a code that
    was typed, `accept` of a guest who accepts the code of conduct.
    """

    find_client: Callable[[str], tuple[Device, Ruleset] | None]
    decide: Callable[[Ruleset, Request], Decision]
    resolve: HostResolution
    observe: Callable[[Device, Ruleset, Request, Decision], None]
    request_access: Callable[[AccessRequest], None]
    guard: DestinationGuard
    page: BlockPage
    report_use: Callable[[Ruleset, Request], None] = lambda _ruleset, _request: None
    submit_code: Callable[[CodeEntered], None] = lambda _typed: None
    accept_conduct: Callable[[ConductAccepted], None] = lambda _accepted: None
    apply_pass_through: Callable[[Ruleset, Request, Decision], Decision] = lambda _ruleset, _request, decision: decision
    sign_in: SignInRules = field(default_factory=SignInRules)
    phrase_lists: tuple[str, ...] = ()  # files of weighted phrases, beside our own


_STRICTNESS = {Verdict.ALLOW: 0, Verdict.REWRITE: 1, Verdict.INSPECT: 2, Verdict.BLOCK: 3}


def strictest(decisions: Sequence[tuple[Request, Decision]]) -> tuple[Request, Decision]:
    """Where a request tells several stories (CONNECT host, SNI, Host), each is judged and the strictest verdict holds."""
    return max(decisions, key=lambda each: _STRICTNESS[each[1].verdict])


class ResolvedHostCache:
    """What the resolver said in the last few seconds: a page opens many connections to one host, and asking is the dearer part.

    Rulesets are part of the key, so that a new ruleset asks anew.
    """

    def __init__(self, resolve: HostResolution, seconds: float = 5.0, limit: int = 4096) -> None:
        self._resolve = resolve
        self._seconds = seconds
        self._limit = limit
        self._known: dict[tuple[Ruleset, str], tuple[float, ResolvedHost]] = {}

    async def resolve(self, ruleset: Ruleset, device: DeviceId, host: str, now: float) -> ResolvedHost:
        """As the judge's own `resolve`."""
        expires, known = self._known.get((ruleset, host), (0.0, None))
        if known is not None and now < expires:
            return known
        found = await self._resolve(ruleset, device, host)
        if len(self._known) >= self._limit:
            self._known.clear()
        if found.addresses:
            self._known[ruleset, host] = (now + self._seconds, found)
        return found


class TunnelDecisionCache:
    """What was decided on tunnels under a ruleset, by host: neither changes before the next snapshot, which needs a new object."""

    def __init__(
        self, decide: Callable[[Ruleset, Request], Decision], passed: Callable[[Ruleset, Request, Decision], Decision], limit: int = 8192
    ) -> None:  # fmt: skip
        self._decide = decide
        self._passed = passed
        self._limit = limit
        self._known: dict[tuple[Ruleset, str, bool], Decision] = {}

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        """As the judge's own `decide` and `passed`; requests are for tunnels."""
        key = (ruleset, request.host, request.hides_host)
        decision = self._known.get(key)
        if decision is None:
            decision = self._decide(ruleset, request)
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[key] = decision
        if decision.verdict is Verdict.INSPECT:
            return self._passed(ruleset, request, decision)  # which may change at any time
        return decision


class Counters(dict[tuple[str, ...], float]):
    """Cumulative counts by metric name and label values, for whoever exports them."""

    def add(self, *key: str, count: float = 1) -> None:
        self[key] = self.get(key, 0) + count
