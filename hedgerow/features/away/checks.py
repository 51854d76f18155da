"""The doctor's check of the tunnel home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.features.away.wireguard import has_interface
from hedgerow.network import interfaces

CARRIER_GRADE_NAT = ip_network("100.64.0.0/10")  # RFC 6598


def check_tunnel(installation: Installation) -> Iterator[Finding]:
    """Check the tunnel home, and that devices can reach it from the internet, as far as this machine's
    addresses tell.
    """
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
    """Return whether devices on the internet can reach the owner of these addresses, and the remedy, empty if none is
    needed.

    >>> [describe_line([address])[0] for address in ("45.55.10.7", "100.64.3.9", "192.168.1.2")]
    ['the line has a public address', 'the line is behind carrier-grade NAT', 'another router is in front']
    """
    known = [address for address in map(ip_address, addresses) if not address.is_link_local]
    if any(address.version == 4 and not address.is_private and address not in CARRIER_GRADE_NAT for address in known):
        return "the line has a public address", ""
    six = (
        " Or let the endpoint's name lead to this machine's IPv6 address."
        if any(address.is_global for address in known)
        else ""
    )
    if any(address in CARRIER_GRADE_NAT for address in known):
        mend = (
            "ask the provider for a public IPv4 address, or forward the port at a rented server: "
            "see docs/features/away.md."
        )
        return "the line is behind carrier-grade NAT", mend + six
    return (
        "another router is in front",
        "forward the UDP port there, and check that router's own address: see docs/features/away.md." + six,
    )
