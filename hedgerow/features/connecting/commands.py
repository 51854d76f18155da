"""`hedgerow dhcp-options`: lines for the DHCP server and the router of the network, from the configuration in force."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_json, state_directory
from hedgerow.app.gateway.config import addresses_for_devices
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.features.connecting.dhcp_options import (
    Announcement,
    EncryptedService,
    dnsmasq_lines,
    isc_lines,
    kea_lines,
    openwrt_lines,
    ra_options,
    v4_instances,
    v6_options,
)
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

_DNS_PORT = 53


class DhcpServer(StrEnum):
    """The DHCP servers for which there are lines."""

    DNSMASQ = "dnsmasq"
    KEA = "kea"
    ISC = "isc"
    OPENWRT = "openwrt"


_LINES = {
    DhcpServer.DNSMASQ: dnsmasq_lines,
    DhcpServer.KEA: kea_lines,
    DhcpServer.ISC: isc_lines,
    DhcpServer.OPENWRT: openwrt_lines,
}


def dhcp_options(
    server: Annotated[
        DhcpServer | None, typer.Option("--for", help="The DHCP server (default: lines for all of them).")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="This machine's address for devices; may be repeated (default: its own)."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the lines with which a DHCP server or a router tells devices to use this machine for DNS, also encrypted
    (RFC 9463).
    """
    settings, network = _in_force(state_directory(state))
    try:
        given = [ip_address(each) for each in address or ()]
    except ValueError as error:
        fail(f"{error}.")
    told = _announcement(settings, network, given)
    if as_json:
        print_json(
            {
                "dns": [str(each) for each in (*told.four, *told.six)],
                "dhcpv4": {"162": b"".join(v4_instances(told.services)).hex()},
                "dhcpv6": {"144": [each.hex() for each in v6_options(told.services)]},
                "router_advertisement": [each.hex() for each in ra_options(told.services)],
            }
        )
        return
    for name in [server] if server is not None else list(DhcpServer):
        print(f"# {name}", *_LINES[name](told), sep="\n")
    for note in _notes(told, settings):
        print(f"# {note}")


def _in_force(state: Path) -> tuple[Settings, NetworkSettings]:
    try:
        return Settings.load(state), Snapshot.in_force(state).policy.network
    except (OSError, ValueError):
        fail(f"No Hedgerow has run with the state directory {state}, or you may not read it.")


def _announcement(settings: Settings, network: NetworkSettings, given: list[IPv4Address | IPv6Address]) -> Announcement:
    own = given or [
        each
        for each in map(ip_address, addresses_for_devices(settings.state))
        if network.is_at_home(each) and not each.is_loopback
    ]
    own.sort(key=lambda each: (each.version, int(each)))
    ranked = sorted(settings.encrypted.items(), key=lambda item: ENCRYPTED_TRANSPORTS[item[0]].ddr_rank)
    name = network.server_name
    services = [
        EncryptedService(number, name, ENCRYPTED_TRANSPORTS[transport], place.port, *_by_family(place, own))
        for number, (transport, place) in enumerate(ranked, 1)
        if name is not None
    ]
    plain = _by_family(settings.dns, own) if settings.dns.port == _DNS_PORT else ((), ())
    return Announcement(*plain, tuple(services))


def _by_family(
    place: Endpoint, own: list[IPv4Address | IPv6Address]
) -> tuple[tuple[IPv4Address, ...], tuple[IPv6Address, ...]]:
    """Return the addresses under which devices reach a listener."""
    families = {ip_address(each.host).version for each in place.every_family()}
    found = [
        each for each in own if each.version in families and (place.is_everywhere or each == ip_address(place.host))
    ]
    return (
        tuple(each for each in found if isinstance(each, IPv4Address)),
        tuple(each for each in found if isinstance(each, IPv6Address)),
    )


def _notes(told: Announcement, settings: Settings) -> list[str]:
    notes = []
    if settings.dns.port != _DNS_PORT:
        notes.append(f"DHCP names no port, and DNS listens at {settings.dns}: start Hedgerow with --dns 0.0.0.0:53.")
    elif not (told.four or told.six):
        notes.append("DNS answers at no address of the home network that is known here: name it with --address.")
    if not told.services:
        notes.append("No encrypted DNS is served: see network.listen and network.server_name in docs/dns.md.")
    elif len(v4_instances(told.services)) < sum(bool(each.four) for each in told.services):
        notes.append("Option 162 has room for 255 octets: the transports of the lowest priority are left out there.")
    return notes
