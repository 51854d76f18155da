"""What parsers of one rule a line share: the walk over the lines, and the usual reasons against a name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from hedgerow.blocklists.names import network_key, parse_host
from hedgerow.blocklists.rules import ParsedLines, Problem

PUBLIC_SUFFIX = "a public suffix, under which strangers have their sites"
SINGLE_LABEL = "a single label would block a whole top-level domain"
NOT_A_HOST = "not a host name"
SINK_ADDRESSES = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "0", "::0", "#", ""})  # noqa: S104 (an answer)
LOCAL_NAMES = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "localhost", "localhost.localdomain", "local"})  # noqa: S104 (an entry)
PRIVATE_NETWORKS = "private networks"
_SHORTEST_PREFIX = {4: 8, 6: 16}
"""Shorter prefixes are a great part of the internet: a mistake, or a way to break somebody's network."""

ListedNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
AddLine = Callable[[str, int, ParsedLines], str | None]
"""Adds what a stripped line with its number says. Returns what is wrong with the line instead, if something is."""


def parse_lines(lines: Sequence[str], first: int, source: str, is_comment: Callable[[str], bool], add: AddLine) -> ParsedLines:
    """Gives each line that is no comment to `add`; `first` is the number of the first line."""
    parsed = ParsedLines()
    for number, raw in enumerate(lines, first):
        line = raw.strip()
        if not line or is_comment(line):
            parsed.ignored["comments"] += 1
        elif problem := add(line, number, parsed):
            parsed.problems.append(Problem(source, number, 1, problem, line[:200]))
    return parsed


def add_host(name: str, parsed: ParsedLines, to: list[str] | None = None) -> str | None:
    """Adds a name to `to`, by default to the hosts. Returns what is wrong with it instead, if something is."""
    host = parse_host(name)
    if host is None:
        return NOT_A_HOST
    if host in LOCAL_NAMES:
        parsed.ignored["local names"] += 1
        return None
    if "." not in host and ":" not in host:
        return SINGLE_LABEL
    (parsed.hosts if to is None else to).append(host)
    return None


def add_networks(networks: Iterable[ListedNetwork], parsed: ParsedLines) -> str | None:
    """Adds addresses and networks of the internet, all or none. Returns what is wrong with them instead, if something is."""
    found = list(networks)
    if any(network.prefixlen < _SHORTEST_PREFIX[network.version] for network in found):
        return "too wide: a great part of the internet"
    if any(not network.is_global and not network.is_multicast for network in found):
        parsed.ignored[PRIVATE_NETWORKS] += 1
        return None
    for network in found:
        if network.prefixlen == network.max_prefixlen:
            parsed.hosts.append(str(network.network_address))
        else:
            parsed.networks.append(network_key(network))
    return None
