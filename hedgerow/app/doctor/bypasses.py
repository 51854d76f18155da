"""`hedgerow doctor DEVICE`: each known way round the filter, and whether it is closed to this device now.

What is decided about names is decided here by the same `decide` that resolver and proxy ask; what happens to packets is the gateway's, if
it is in place. From the device itself, its browser tries some of it for real at `/check`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hedgerow.app.control.gateway import GatewayConfig, build_gateway, is_unmodified
from hedgerow.app.doctor.checks import Finding, Health, good_finding
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces
from hedgerow.network.gateway_rules import Gateway
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Device, Request, RequestKind, SafeSearch, Verdict
from hedgerow.policies.ruleset import Ruleset

RESOLVERS = ("dns.google", "cloudflare-dns.com", "mozilla.cloudflare-dns.com", "dns.quad9.net", "dns.nextdns.io", "doh.opendns.com")
PROXIES = ("nordvpn.com", "expressvpn.com", "protonvpn.com", "surfshark.com", "mullvad.net", "torproject.org", "proxysite.com")
ENGINES = ("www.google.com", "www.bing.com", "duckduckgo.com", "www.youtube.com")
ADDRESS = "1.1.1.1"
_BLOCK_BYPASS = "in the policy, for this person or device: block: [bypass], and another profile than adult"
_GATEWAY = "on the machine that is the devices' router: hedgerow gateway apply (docs/install/router.md)"


class UnknownDevice(ValueError):
    """There is no such device in the network."""


@dataclass(frozen=True, slots=True)
class CheckedDevice:
    """The device that is looked at, what holds for it now, and the gateway, None where there is none that keeps it on the path."""

    view: LoadedSnapshot
    device: Device
    ruleset: Ruleset
    gateway: Gateway | None

    def is_blocked(self, host: str, kind: RequestKind = RequestKind.DNS, *, hides_host: bool = False) -> bool:
        request = Request(self.device.id, kind, host, hides_host=hides_host)
        return decide(self.ruleset, self.view.catalogue, request).verdict is Verdict.BLOCK


def check_device(state: Path, name: str) -> list[Finding]:
    """Raises UnknownDevice; OSError or ValueError where no Hedgerow has run with this state directory."""
    view = LoadedSnapshot(Snapshot.load(state))
    device = find_device(view.rulesets, name)
    if device is None:
        raise UnknownDevice(f"There is no device '{name}', and it is not an address of this network.")
    subject = CheckedDevice(view, device, view.rulesets.ruleset(device, time.time()), _gateway(state, view.policy.network.ports))
    return [_describe_device(subject), *(finding for check in CHECKS for finding in check(subject))]


def _gateway(state: Path, ports: tuple[int, ...]) -> Gateway | None:
    choice = GatewayConfig.load(state)
    found = nftables.installed_table() if choice else None
    if choice is None or found is None or not is_unmodified(state, found):
        return None
    return build_gateway(choice, Settings.load(state), ports)


def _describe_device(subject: CheckedDevice) -> Finding:
    whose = f" of {subject.device.person}" if subject.device.person else ""
    held = f"; closed now ({subject.ruleset.closed.reason})" if subject.ruleset.closed else ""
    return good_finding("device", f"{subject.device.id}{whose}, filtered as {subject.ruleset.profile}{held}")


def _names(what: str, hosts: tuple[str, ...], mend: str) -> Callable[[CheckedDevice], Iterator[Finding]]:
    def check(subject: CheckedDevice) -> Iterator[Finding]:
        through = [host for host in hosts if not subject.is_blocked(host)]
        if not through:
            yield good_finding(what, f"closed: {', '.join(hosts[:3])} and the like")
        else:
            yield Finding(what, Health.BAD, f"open: {', '.join(through)}", mend)

    return check


def _addresses(subject: CheckedDevice) -> Iterator[Finding]:
    """An address in place of a name, and a name that is hidden."""
    for what, shut in (
        ("a page by its address", subject.is_blocked(ADDRESS, RequestKind.TUNNEL)),
        ("a page behind a hidden name (ECH)", subject.is_blocked("public.example", RequestKind.TUNNEL, hides_host=True)),
    ):
        if not shut:
            yield Finding(what, Health.BAD, "open", _BLOCK_BYPASS)
        elif subject.gateway is None or subject.gateway.redirect_ports.pages is None:
            yield Finding(what, Health.UNSURE, "closed at the proxy, which a device may leave alone here", _GATEWAY)
        else:
            yield good_finding(what, "closed at the proxy, where the gateway brings all pages")


def _search(subject: CheckedDevice) -> Iterator[Finding]:
    ruleset = subject.ruleset
    if SafeSearch.OFF in (ruleset.safe_search, ruleset.youtube):
        yield Finding(
            "safe search", Health.UNSURE, "off, as this person's rules say", "safe_search: strict and youtube: strict, if it shall be on"
        )
        return
    requests = (Request(subject.device.id, RequestKind.DNS, host) for host in ENGINES)
    bare = [each.host for each in requests if decide(ruleset, subject.view.catalogue, each).verdict is Verdict.ALLOW]
    if bare:
        yield Finding("safe search", Health.BAD, f"not kept at {', '.join(bare)}", f"hedgerow explain {subject.device.id} {bare[0]}")
    else:
        yield good_finding("safe search", "kept at Google, Bing, DuckDuckGo and YouTube, by name and through the proxy")


def _packets(subject: CheckedDevice) -> Iterator[Finding]:
    """What names do not decide."""
    ways = (
        "another resolver",
        "DNS over TLS and QUIC",
        "DNS over HTTPS by address",
        "HTTP/3 (QUIC)",
        "WireGuard, OpenVPN and other tunnels",
        "web proxies at any port",
    )
    if not subject.ruleset.rules.bypass:
        for way in ways:
            yield Finding(way, Health.BAD, "open: the gateway leaves this device alone", _BLOCK_BYPASS)
        return
    if subject.gateway is None:
        for way in ways:
            yield Finding(way, Health.BAD, "open: no gateway keeps this device on the path", _GATEWAY)
        return
    for way in ways:
        yield good_finding(way, "refused, or carried to Hedgerow, by the gateway")
    yield from _rest(subject.gateway)


def _rest(gateway: Gateway) -> Iterator[Finding]:
    if gateway.allow_ssh and not gateway.strict:
        yield Finding("SSH", Health.UNSURE, "open, as the gateway was told", "hedgerow gateway apply --refuse-ssh")
    else:
        yield good_finding("SSH", "refused at any port")
    if gateway.strict:
        yield good_finding("tunnels that no rule knows", "refused: names, pages and the time pass, and nothing else")
    else:
        found = "open: they look like a game or a call"
        yield Finding("tunnels that no rule knows", Health.UNSURE, found, "hedgerow gateway apply --strict, if calls and games may go")
    if interfaces.uplink_bridges() & set(gateway.lan):
        blind = [family for family, looks in interfaces.bridge_filtering().items() if not looks]
        mend = interfaces.BRIDGE_FILTERING_COMMANDS
    else:
        blind = [family for family, ip_forwarding in interfaces.ip_forwarding().items() if not ip_forwarding]
        mend = "have this machine forward it, or switch it off at the device's other router"
    for family in blind:
        yield Finding(family, Health.BAD, "does not come by here: whoever has another way by it goes round", mend)


CHECKS: tuple[Callable[[CheckedDevice], Iterator[Finding]], ...] = (
    _names("encrypted DNS by name", RESOLVERS, _BLOCK_BYPASS),
    _names("sites of proxies and VPNs", PROXIES, f"{_BLOCK_BYPASS}; hedgerow lists update fetches more lists"),
    *(_addresses, _search, _packets),
)
