"""The check that this line serves nobody on the internet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from hedgerow.app.doctor.findings import Finding, Health, Installation
from hedgerow.app.settings import Endpoint
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS


def check_exposure(installation: Installation) -> Iterator[Finding]:
    """Check that nobody on the internet is served, and say what strangers can reach."""
    settings, policy = installation.settings, installation.policy
    if settings is not None and policy is not None:
        yield from exposure_findings(policy.network, settings.listeners, own_addresses())


def exposure_findings(
    network: NetworkSettings, listeners: Mapping[str, Endpoint], addresses: Iterable[str]
) -> Iterator[Finding]:
    """Report networks that are too large to be one's own, and listeners at this machine's public IPv4 addresses.

    DNS over TLS, HTTPS and QUIC are for devices that are away, and know them by their ids.
    """
    whole = [str(each) for each in network.lan if each not in network.home_networks and not each.is_private]
    if whole:
        mend = (
            "name only your own networks there; let DNS over HTTPS or TLS with a client_id serve devices that are away"
        )
        yield Finding(
            "strangers",
            Health.BAD,
            f"network.lan lets the internet use this resolver and proxy: {', '.join(whole)}",
            mend,
        )
    public = [text for text in addresses if (address := ip_address(text)).version == 4 and address.is_global]
    open_ones = {
        name: end
        for name, end in listeners.items()
        if name not in ENCRYPTED_TRANSPORTS and (end.is_everywhere or end.host in public)
    }
    if public and open_ones:
        mend = (
            "strangers are refused, but need not reach these: drop their packets in the firewall, or listen at your own"
            " network only"
        )
        found = f"{', '.join(map(str, open_ones))} can be reached from the internet at {', '.join(public)}"
        yield Finding("strangers", Health.UNSURE, found, mend)
