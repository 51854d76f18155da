"""Checks of this line: whether devices that are away reach it, and the name that follows its address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network

from hedgerow.app.control.dynamic_name import DynamicRecord
from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.workers.upstreams import open_policy_upstreams
from hedgerow.dns.upstreams.factory import BootstrapResolver
from hedgerow.dns.upstreams.upstream import UpstreamError
from hedgerow.network import interfaces
from hedgerow.network.own_addresses import own_addresses
from hedgerow.network.tunnel import has_interface
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

CARRIER_GRADE_NAT = ip_network("100.64.0.0/10")  # RFC 6598
_SETTLES_S = 600.0
"""Seconds that a provider may take until resolvers give the new address."""


def check_tunnel(installation: Installation) -> Iterator[Finding]:
    """Check the tunnel home, and that devices can reach it from the internet, as far as this machine's addresses tell."""
    tunnel = installation.policy.network.tunnel if installation.policy is not None else None
    if tunnel is None or installation.policy is None:
        return
    if any(device.tunnel for device in installation.policy.devices.values()) and not has_interface():
        mend = "hedgerow gateway apply, apt install wireguard-tools, and see the log of the gateway"
        yield Finding("tunnel home", Health.BAD, "devices have one, but it is not up", mend)
        return
    found, mend = describe_line(interfaces.uplink_addresses())
    found = f"listens at UDP port {tunnel.port}; {found}"
    yield Finding("tunnel home", Health.UNSURE, found, mend) if mend else good_finding("tunnel home", found)


def describe_line(addresses: Iterable[str]) -> tuple[str, str]:
    """Return whether devices on the internet can reach the owner of these addresses, and the remedy, empty if none is needed.

    >>> [describe_line([address])[0] for address in ("45.55.10.7", "100.64.3.9", "192.168.1.2")]
    ['the line has a public address', 'the line is behind carrier-grade NAT', 'another router is in front']
    """
    known = [address for address in map(ip_address, addresses) if not address.is_link_local]
    if any(address.version == 4 and not address.is_private and address not in CARRIER_GRADE_NAT for address in known):
        return "the line has a public address", ""
    six = " Or let the endpoint's name lead to this machine's IPv6 address." if any(address.is_global for address in known) else ""
    if any(address in CARRIER_GRADE_NAT for address in known):
        mend = "ask the provider for a public IPv4 address, or forward the port at a rented server: see docs/away.md."
        return "the line is behind carrier-grade NAT", mend + six
    return "another router is in front", "forward the UDP port there, and check that router's own address: see docs/away.md." + six


def check_dynamic_name(installation: Installation) -> Iterator[Finding]:
    """Check that the provider of dynamic DNS has accepted this line's addresses, and that the name leads to them."""
    settings, policy = installation.settings, installation.policy
    if settings is None or policy is None or policy.network.ddns is None:
        return
    name, record = policy.network.ddns.host, DynamicRecord.load(installation.state)
    found = () if record.problem else asyncio.run(_addresses_of(name, policy.network, settings))
    yield name_finding(name, record, found, time.time())


def name_finding(name: str, record: DynamicRecord, found: Collection[str], now: float) -> Finding:
    """Report on a name that leads to the addresses `found` while the provider was told what is in the record."""
    told = " and ".join(record.addresses)
    if record.host != name:
        return Finding("dynamic DNS", Health.UNSURE, f"{name}: nothing has been sent yet", "wait a minute, and see the log")
    if record.problem:
        mend = "network.ddns in the policy, and the password in ddns-password in the state directory; see docs/away.md"
        return Finding("dynamic DNS", Health.BAD if record.is_final else Health.UNSURE, f"{name}: {record.problem}", mend)
    if set(found) & set(record.addresses):
        return good_finding("dynamic DNS", f"{name} leads to {told}")
    mend = "see the name in your account at the provider" if now - record.when > _SETTLES_S else "wait a few minutes"
    return Finding("dynamic DNS", Health.UNSURE, f"{name} leads to {' and '.join(found) or 'no address'}, not to {told}", mend)


def check_exposure(installation: Installation) -> Iterator[Finding]:
    """Check that nobody on the internet is served, and say what strangers can reach."""
    settings, policy = installation.settings, installation.policy
    if settings is not None and policy is not None:
        yield from exposure_findings(policy.network, settings.listeners, own_addresses())


def exposure_findings(network: NetworkSettings, listeners: Mapping[str, Endpoint], addresses: Iterable[str]) -> Iterator[Finding]:
    """Report networks that are too large to be one's own, and listeners at this machine's public IPv4 addresses.

    DNS over TLS, HTTPS and QUIC are for devices that are away, and know them by their ids.
    """
    whole = [str(each) for each in network.lan if each not in network.home_networks and not each.is_private]
    if whole:
        mend = "name only your own networks there; let DNS over HTTPS or TLS with a client_id serve devices that are away"
        yield Finding("strangers", Health.BAD, f"network.lan lets the internet use this resolver and proxy: {', '.join(whole)}", mend)
    public = [text for text in addresses if (address := ip_address(text)).version == 4 and address.is_global]
    open_ones = {
        name: end for name, end in listeners.items() if name not in ENCRYPTED_TRANSPORTS and (end.is_everywhere or end.host in public)
    }
    if public and open_ones:
        mend = "strangers are refused, but need not reach these: drop their packets in the firewall, or listen at your own network only"
        found = f"{', '.join(map(str, open_ones))} can be reached from the internet at {', '.join(public)}"
        yield Finding("strangers", Health.UNSURE, found, mend)


async def _addresses_of(name: str, network: NetworkSettings, settings: Settings) -> tuple[str, ...]:
    """Return the addresses of a name on the internet, empty if it has none."""
    upstreams = open_policy_upstreams(network, settings)
    try:
        return await BootstrapResolver(upstreams)(name)
    except UpstreamError:
        return ()
    finally:
        await upstreams.close()
