"""Lists of addresses: one a line, an IPv4 or IPv6 address, a network in CIDR notation or a range `first-last`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from hedgerow.blocklists.formats.lines import parse_lines
from hedgerow.blocklists.names import network_key, parse_network
from hedgerow.blocklists.rules import Parsed

_TYPICAL = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*)(?:/\d{1,3}|\s*-\s*[\d.a-fA-F:]+)?(?:\s*[#;].*)?")
_WIDEST = {4: 8, 6: 16}
"""Shorter prefixes are a sixteenth of the internet and more: a mistake, or a way to break somebody's network."""


def is_typical(line: str) -> bool:
    return _TYPICAL.fullmatch(line) is not None


def is_comment(line: str) -> bool:
    return line.startswith(("#", ";", "!", "//"))


def parse(lines: Sequence[str], first: int, source: str) -> Parsed:
    """Reads lines of which the first has the number `first`."""
    return parse_lines(lines, first, source, is_comment, _add)


def _add(line: str, _number: int, parsed: Parsed) -> str | None:
    text = re.split(r"\s*[#;]|\s+//", line, maxsplit=1)[0].strip()
    networks = _parse(text)
    if not networks:
        return "neither an address nor a network"
    if any(network.prefixlen < _WIDEST[network.version] for network in networks):
        return "too wide: a great part of the internet"
    if any(not network.is_global and not network.is_multicast for network in networks):
        parsed.ignored["private networks"] += 1
        return None
    for network in networks:
        if network.prefixlen == network.max_prefixlen:
            parsed.hosts.append(str(network.network_address))
        else:
            parsed.networks.append(network_key(network))
    return None


def _parse(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    low, dash, high = text.partition("-")
    if not dash:
        network = parse_network(text)
        return [network] if network else []
    try:
        first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
        return list(ipaddress.summarize_address_range(first, last))
    except (ValueError, TypeError):
        return []
