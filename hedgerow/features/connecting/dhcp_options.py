"""DHCP options and router advertisements that tell devices of this resolver, plain and encrypted (RFC 9463, DNR). Pure.

Clients check the certificate of an encrypted resolver against its name, so DNR is of use where devices trust it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import pack
from typing import Final

from hedgerow.dns import wire
from hedgerow.dns.special_names import service_parameters
from hedgerow.policies.transports import Transport

V4_DNR: Final = 162
"""DHCPv4 option OPTION_V4_DNR (section 5.1)."""
V6_DNR: Final = 144
"""DHCPv6 option OPTION_V6_DNR (section 4.1), and the number of the router advertisement's option (section 6.1)."""
MAX_V4_OCTETS: Final = 255
"""Octets of one DHCPv4 option. Many servers can't split longer ones (RFC 3396)."""
RA_LIFETIME_S: Final = 1800


@dataclass(frozen=True, slots=True)
class EncryptedService:
    """One encrypted transport of the resolver `name`, at a port of these addresses. The lowest `priority` is best."""

    priority: int
    name: str
    transport: Transport
    port: int
    four: tuple[IPv4Address, ...] = ()
    six: tuple[IPv6Address, ...] = ()

    @property
    def parameters(self) -> str:
        """The service parameters as text (RFC 9460, appendix A), as OpenWrt's odhcpd takes them."""
        path = f" dohpath={self.transport.doh_path}" if self.transport.doh_path else ""
        return f"alpn={','.join(self.transport.alpn)} port={self.port}{path}"


def v4_instances(services: Iterable[EncryptedService]) -> list[bytes]:
    """Return the instances of DHCPv4's option 162, as many as fit: services with an IPv4 address, the best first.

    >>> from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS
    >>> dot = EncryptedService(1, "dns.example", ENCRYPTED_TRANSPORTS["dot"], 853, (IPv4Address("192.0.2.1"),))
    >>> v4_instances([dot])[0].hex(" ", -4)
    '00230001 0d03646e 73076578 616d706c 650004c0 00020100 01000403 646f7400 03000203 55'
    """
    found: list[bytes] = []
    left = MAX_V4_OCTETS
    for service in (each for each in services if each.four):
        addresses = b"".join(address.packed for address in service.four)
        name = wire.name_of(service.name)
        instance = pack("!HB", service.priority, len(name)) + name + bytes((len(addresses),)) + addresses
        instance += service_parameters(service.transport, service.port)
        left -= 2 + len(instance)
        if left < 0:
            break
        found.append(pack("!H", len(instance)) + instance)
    return found


def v6_options(services: Iterable[EncryptedService]) -> list[bytes]:
    """Return the content of DHCPv6's options 144, one for each service with an IPv6 address."""
    return [
        pack("!H", each.priority) + _name_and_addresses(each) + service_parameters(each.transport, each.port)
        for each in services
        if each.six
    ]


def ra_options(services: Iterable[EncryptedService], lifetime: int = RA_LIFETIME_S) -> list[bytes]:
    """Return whole options of a router advertisement, with type and length. `lifetime` is in seconds."""
    found = []
    for each in services:
        parameters = service_parameters(each.transport, each.port)
        body = pack("!HI", each.priority, lifetime) + _name_and_addresses(each)
        body += pack("!H", len(parameters)) + parameters
        body += bytes(-(len(body) + 2) % 8)
        if each.six:
            found.append(bytes((V6_DNR, (len(body) + 2) // 8)) + body)
    return found


def _name_and_addresses(service: EncryptedService) -> bytes:
    name, addresses = wire.name_of(service.name), b"".join(address.packed for address in service.six)
    return pack("!H", len(name)) + name + pack("!H", len(addresses)) + addresses


@dataclass(frozen=True, slots=True)
class Announcement:
    """Addresses of plain DNS, and encrypted services, of which DHCP servers and routers tell devices."""

    four: tuple[IPv4Address, ...]
    six: tuple[IPv6Address, ...]
    services: tuple[EncryptedService, ...]


def dnsmasq_lines(told: Announcement) -> list[str]:
    """Return lines for dnsmasq.conf."""
    lines = [f"dhcp-option=option:dns-server,{_joined(told.four)}"] if told.four else []
    lines += [f"dhcp-option=option6:dns-server,{','.join(f'[{each}]' for each in told.six)}"] if told.six else []
    lines += [f"dhcp-option={V4_DNR},{content.hex(':')}" for content in _v4(told)]
    return [*lines, *(f"dhcp-option=option6:{V6_DNR},{content.hex(':')}" for content in v6_options(told.services))]


def kea_lines(told: Announcement) -> list[str]:
    """Return `option-data` for Kea's Dhcp4 and Dhcp6."""
    four = [f'{{"name": "domain-name-servers", "data": "{_joined(told.four)}"}}'] if told.four else []
    four += [_kea_option(V4_DNR, "dhcp4", content) for content in _v4(told)]
    six = [f'{{"name": "dns-servers", "data": "{_joined(told.six)}"}}'] if told.six else []
    six += [_kea_option(V6_DNR, "dhcp6", content) for content in v6_options(told.services)]
    sections = (("Dhcp4", four), ("Dhcp6", six))
    return [
        line
        for name, options in sections
        if options
        for line in (f"// {name}", '"option-data": [', *_with_commas([f"  {each}" for each in options]), "],")
    ]


def isc_lines(told: Announcement) -> list[str]:
    """Return lines for ISC's dhcpd.conf and dhcpd6.conf."""
    lines = [f"option domain-name-servers {_joined(told.four, ', ')};"] if told.four else []
    for content in _v4(told):
        lines += [f"option dnr code {V4_DNR} = string;", f"option dnr {content.hex(':')};"]
    lines += [f"option dhcp6.name-servers {_joined(told.six, ', ')};"] if told.six else []
    for content in v6_options(told.services)[:1]:  # its options are unique
        lines += [f"option dhcp6.dnr code {V6_DNR} = string;", f"option dhcp6.dnr {content.hex(':')};"]
    return lines


def openwrt_lines(told: Announcement) -> list[str]:
    """Return commands for OpenWrt: dnsmasq serves DHCPv4, and odhcpd DHCPv6 and router advertisements."""
    lines = [f"uci add_list dhcp.lan.dhcp_option='6,{_joined(told.four)}'"] if told.four else []
    lines += [f"uci add_list dhcp.lan.dhcp_option='{V4_DNR},{content.hex(':')}'" for content in _v4(told)]
    lines += [f"uci add_list dhcp.lan.dns='{address}'" for address in told.six]
    lines += [
        f"uci add_list dhcp.lan.dnr='{each.priority} {each.name} {_joined((*each.four, *each.six))} {each.parameters}'"
        for each in told.services
    ]
    return [*lines, "uci commit dhcp && service dnsmasq restart && service odhcpd restart"] if lines else []


def _v4(told: Announcement) -> list[bytes]:
    instances = v4_instances(told.services)
    return [b"".join(instances)] if instances else []


def _joined(addresses: Sequence[IPv4Address | IPv6Address], separator: str = ",") -> str:
    return separator.join(map(str, addresses))


def _kea_option(code: int, space: str, content: bytes) -> str:
    return f'{{"code": {code}, "space": "{space}", "csv-format": false, "data": "{content.hex().upper()}"}}'


def _with_commas(lines: Sequence[str]) -> list[str]:
    return [*(f"{each}," for each in lines[:-1]), *lines[-1:]]
