"""`hedgerow doctor DEVICE`: the known bypasses of the filter, and whether each is closed to this device now.

Names are checked with the same `decide` that resolver and proxy use. Packets are up to the gateway, if it is in place.
The page `/check` tries some of the bypasses from the device itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hedgerow.app.doctor.findings import REDIRECT_PAGES, Finding, Health, good_finding
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.controller import build_gateway, is_unmodified
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces
from hedgerow.network.gateway_rules import Gateway
from hedgerow.network.neighbours import neighbours_of_this_machine
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Device, Request, RequestKind, SafeSearch, Verdict
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.ruleset import Ruleset

RESOLVERS = (
    "dns.google",
    "cloudflare-dns.com",
    "mozilla.cloudflare-dns.com",
    "dns.quad9.net",
    "dns.nextdns.io",
    "doh.opendns.com",
)
PROXIES = (
    "nordvpn.com",
    "expressvpn.com",
    "protonvpn.com",
    "surfshark.com",
    "mullvad.net",
    "torproject.org",
    "proxysite.com",
)
ENGINES = ("www.google.com", "www.bing.com", "duckduckgo.com", "www.youtube.com")
ADDRESS = "1.1.1.1"
_BLOCK_BYPASS = "in the policy of this person or device: block: [bypass], and a profile other than adult"
_GATEWAY = "on the machine that is the devices' router: hedgerow gateway apply (docs/install/router.md)"


class UnknownDevice(ValueError):
    """The network has no such device."""


@dataclass(frozen=True, slots=True)
class CheckedDevice:
    """The checked device with its current ruleset. `gateway` is None if no gateway is in place."""

    view: LoadedSnapshot
    device: Device
    ruleset: Ruleset
    gateway: Gateway | None

    def is_blocked(self, host: str, kind: RequestKind = RequestKind.DNS, *, hides_host: bool = False) -> bool:
        return (
            decide(
                self.ruleset, self.view.catalogue, Request(self.device.id, kind, host, hides_host=hides_host)
            ).verdict
            is Verdict.BLOCK
        )


def check_device(state: Path, name: str) -> list[Finding]:
    """Return the findings for one device.

    Raises UnknownDevice, and OSError or ValueError if no Hedgerow has run on `state`.
    """
    view = LoadedSnapshot(Snapshot.in_force(state))
    device = find_device(view.rulesets, name, neighbours_of_this_machine())
    if device is None:
        raise UnknownDevice(f"There is no device '{name}', and it is not an address of this network.")
    subject = CheckedDevice(
        view, device, view.rulesets.ruleset(device, time.time()), _gateway(state, view.policy.network)
    )
    return [_describe_device(subject), *(finding for check in CHECKS for finding in check(subject))]


def _gateway(state: Path, network: NetworkSettings) -> Gateway | None:
    config = GatewayConfig.load(state)
    table = nftables.installed_table() if config else None
    if config is None or table is None or not is_unmodified(state, table):
        return None
    return build_gateway(config, Settings.load(state), network)


def _describe_device(subject: CheckedDevice) -> Finding:
    owner = f" of {subject.device.person}" if subject.device.person else ""
    closed = f"; closed now ({subject.ruleset.closed.reason})" if subject.ruleset.closed else ""
    return good_finding("device", f"{subject.device.id}{owner}, with the rules of {subject.ruleset.profile}{closed}")


def _names(what: str, hosts: tuple[str, ...], mend: str) -> Callable[[CheckedDevice], Iterator[Finding]]:
    def check(subject: CheckedDevice) -> Iterator[Finding]:
        reachable = [host for host in hosts if not subject.is_blocked(host)]
        if not reachable:
            yield good_finding(what, f"closed: {', '.join(hosts[:3])} and similar")
        else:
            yield Finding(what, Health.BAD, f"open: {', '.join(reachable)}", mend)

    return check


def _addresses(subject: CheckedDevice) -> Iterator[Finding]:
    """Check addresses instead of names, and hidden names (ECH)."""
    for what, is_closed in (
        ("a page by its address", subject.is_blocked(ADDRESS, RequestKind.TUNNEL)),
        (
            "a page behind a hidden name (ECH)",
            subject.is_blocked("public.example", RequestKind.TUNNEL, hides_host=True),
        ),
    ):
        if not is_closed:
            yield Finding(what, Health.BAD, "open", _BLOCK_BYPASS)
        elif subject.gateway is None or subject.gateway.redirect_ports.pages is None:
            mend = _GATEWAY if subject.gateway is None else REDIRECT_PAGES
            yield Finding(what, Health.UNSURE, "closed at the proxy, which this device can bypass", mend)
        else:
            yield good_finding(what, "closed at the proxy, to which the gateway redirects all web traffic")


def _search(subject: CheckedDevice) -> Iterator[Finding]:
    ruleset = subject.ruleset
    if SafeSearch.OFF in (ruleset.safe_search, ruleset.youtube):
        yield Finding(
            "safe search",
            Health.UNSURE,
            "off, by this person's rules",
            "to enable it: safe_search: strict, youtube: strict",
        )
        return
    requests = (Request(subject.device.id, RequestKind.DNS, host) for host in ENGINES)
    unenforced = [
        each.host for each in requests if decide(ruleset, subject.view.catalogue, each).verdict is Verdict.ALLOW
    ]
    if unenforced:
        yield Finding(
            "safe search",
            Health.BAD,
            f"not enforced at {', '.join(unenforced)}",
            f"hedgerow explain {subject.device.id} {unenforced[0]}",
        )
    else:
        yield good_finding("safe search", "enforced at Google, Bing, DuckDuckGo and YouTube, by DNS and by the proxy")


def _packets(subject: CheckedDevice) -> Iterator[Finding]:
    """Check the bypasses that depend on packets rather than on names."""
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
            yield Finding(way, Health.BAD, "open: the gateway does not restrict this device", _BLOCK_BYPASS)
        return
    if subject.gateway is None:
        for way in ways:
            yield Finding(way, Health.BAD, "open: no gateway is in place", _GATEWAY)
        return
    for way in ways:
        yield good_finding(way, "refused, or redirected to Hedgerow, by the gateway")
    yield from _rest(subject.gateway)


def _rest(gateway: Gateway) -> Iterator[Finding]:
    if gateway.allow_ssh and not gateway.strict:
        yield Finding(
            "SSH", Health.UNSURE, "open, by the gateway's configuration", "hedgerow gateway apply --refuse-ssh"
        )
    else:
        yield good_finding("SSH", "refused at any port")
    if gateway.strict:
        yield good_finding("unknown tunnels", "refused: only DNS, the web and NTP are allowed")
    elif gateway.any_destination:
        found = "open: they can't be told from games or calls"
        yield Finding("unknown tunnels", Health.UNSURE, found, "hedgerow gateway apply --named-destinations")
    else:
        found = "open to servers whose name is allowed, and as network.flows says; refused to all other addresses"
        yield Finding(
            "unknown tunnels",
            Health.UNSURE,
            found,
            "hedgerow gateway apply --strict, which also blocks calls and games",
        )
    yield good_finding("connections from outside", _answered(gateway))
    if interfaces.uplink_bridges() & set(gateway.lan):
        blind = [family for family, looks in interfaces.bridge_filtering().items() if not looks]
        mend = interfaces.BRIDGE_FILTERING_COMMANDS
    else:
        blind = [family for family, ip_forwarding in interfaces.ip_forwarding().items() if not ip_forwarding]
        mend = "let this machine forward it, or disable it at the other router"
    for family in blind:
        yield Finding(
            family, Health.BAD, "does not pass this machine: devices with another router for it bypass the filter", mend
        )


def _answered(gateway: Gateway) -> str:
    """Say which connections to a guarded device are answered, such as to a game's server behind a forwarded port."""
    if gateway.strict or gateway.any_destination:
        return "refused" if gateway.strict else "answered: any destination is allowed"
    everyone = [flow for flow in gateway.flows if not (flow.begins_with_stun or flow.to)]
    ports = [
        f"{flow.protocol} {first if first == last else f'{first}-{last}'}"
        for flow in everyone
        for first, last in flow.ports
    ]
    return (
        f"answered at {', '.join(ports) or 'no port'}, as network.flows says, and to addresses that DNS gave the"
        " device; else refused"
    )


CHECKS: tuple[Callable[[CheckedDevice], Iterator[Finding]], ...] = (
    _names("encrypted DNS by name", RESOLVERS, _BLOCK_BYPASS),
    _names("sites of proxies and VPNs", PROXIES, f"{_BLOCK_BYPASS}; hedgerow lists update fetches more lists"),
    *(_addresses, _search, _packets),
)
