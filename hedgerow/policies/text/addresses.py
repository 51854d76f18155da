"""Parsing of IP addresses, networks, MAC addresses and endpoints as people write them. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from hedgerow.codec import IpNetwork as IpNetwork

type IpAddress = IPv4Address | IPv6Address


def parse_ip(text: str) -> IpAddress | None:
    """Return the IP address that `text` is, else None."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_client_address(text: str) -> IpAddress | None:
    """Return a client's address as sockets report it, without a zone, and IPv4-mapped IPv6 as IPv4; None if it is no address."""
    address = parse_ip(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_endpoint(text: str) -> bool:
    """Return whether `text` is ADDRESS:PORT, with an IPv6 address in brackets.

    >>> is_endpoint("0.0.0.0:53"), is_endpoint("[::1]:53"), is_endpoint("::1:53"), is_endpoint("0.0.0.0")
    (True, True, False, False)
    """
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    address = parse_ip(host.strip("[]"))
    return address is not None and (address.version == 6) == bracketed


def parse_mac(text: str) -> str | None:
    """Return a MAC address in lower case with colons, or None if `text` is none.

    >>> parse_mac("AA-BB-CC-DD-EE-01"), parse_mac("aabb.ccdd.ee01"), parse_mac("10.0.0.1")
    ('aa:bb:cc:dd:ee:01', 'aa:bb:cc:dd:ee:01', None)
    """
    if not re.fullmatch(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", text, re.IGNORECASE):
        return None
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def parse_network(text: str) -> IpNetwork | None:
    """Return an address, or a network in CIDR form without host bits; None if `text` is neither."""
    try:
        interface = ip_interface(text)
    except ValueError:
        return None
    return interface.network if "/" not in text or interface.ip == interface.network.network_address else None


def format_network(network: IpNetwork) -> str:
    """Format a network; a single address goes without its prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
