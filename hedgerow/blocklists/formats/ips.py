"""Lists of addresses: one per line, an IPv4 or IPv6 address, a network in CIDR notation or a range `first-last`."""

from __future__ import annotations

import ipaddress
import re
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import ListedNetwork, add_networks, line_format
from hedgerow.blocklists.names import parse_network
from hedgerow.blocklists.rules import ParsedLines

_TYPICAL = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*)(?:/\d{1,3}|\s*-\s*[\d.a-fA-F:]+)?(?:\s*[#;].*)?"
)
_COMMENT = re.compile(r"(?<!\s)(?:\s*+[#;]|\s++//)")


def _is_typical(line: str) -> bool:
    return _TYPICAL.fullmatch(line) is not None


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    networks = _parse_networks(_COMMENT.split(line, maxsplit=1)[0].strip())
    return add_networks(networks, parsed) if networks else "neither an address nor a network"


def _parse_networks(text: str) -> list[ListedNetwork]:
    low, dash, high = text.partition("-")
    if not dash:
        network = parse_network(text)
        return [network] if network else []
    try:
        first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
        return list(ipaddress.summarize_address_range(first, last))
    except (ValueError, TypeError):
        return []


FORMAT = line_format("ips", _is_typical, methodcaller("startswith", ("#", ";", "!", "//")), _add)
