"""Lists of addresses: one a line, an IPv4 or IPv6 address, a network in CIDR notation or a range `first-last`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from hedgerow.blocklists.formats.line_parser import ListedNetwork, add_networks, parse_lines
from hedgerow.blocklists.names import parse_network
from hedgerow.blocklists.rules import ParsedLines

_TYPICAL = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*)(?:/\d{1,3}|\s*-\s*[\d.a-fA-F:]+)?(?:\s*[#;].*)?")


def is_typical(line: str) -> bool:
    return _TYPICAL.fullmatch(line) is not None


def is_comment(line: str) -> bool:
    return line.startswith(("#", ";", "!", "//"))


def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads lines of which the first has the number `first`."""
    return parse_lines(lines, first, source, is_comment, _add)


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    text = re.split(r"\s*[#;]|\s+//", line, maxsplit=1)[0].strip()
    networks = _parse(text)
    return add_networks(networks, parsed) if networks else "neither an address nor a network"


def _parse(text: str) -> list[ListedNetwork]:
    low, dash, high = text.partition("-")
    if not dash:
        network = parse_network(text)
        return [network] if network else []
    try:
        first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
        return list(ipaddress.summarize_address_range(first, last))
    except (ValueError, TypeError):
        return []
