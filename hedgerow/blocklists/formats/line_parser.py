"""Formats with one rule per line: what their parsers share, and the usual reasons why a name is refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hedgerow.blocklists.names import network_key, parse_host
from hedgerow.blocklists.rules import ParsedLines, Problem

PUBLIC_SUFFIX = "a public suffix, under which strangers have their sites"
SINGLE_LABEL = "a single label would block a whole top-level domain"
NOT_A_HOST = "not a host name"
NO_BLOCK = "sends the name elsewhere: not a block"
SINK_ADDRESSES = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "0", "::0", "#", ""})  # noqa: S104 (an answer)
LOCAL_NAMES = frozenset(
    {"0.0.0.0", "127.0.0.1", "::", "::1", "local", "broadcasthost", "localhost", "localhost4", "localhost6"}  # noqa: S104 (an entry)
    | {"localhost.localdomain", "localhost4.localdomain4", "localhost6.localdomain6"}
    | {
        f"ip6-{name}"
        for name in ("localhost", "loopback", "localnet", "mcastprefix", "allnodes", "allrouters", "allhosts")
    }
)
PRIVATE_NETWORKS = "private networks"
_SHORTEST_PREFIX = {4: 8, 6: 16}
"""A network with a shorter prefix is a great part of the internet: a mistake, or an attack."""

ListedNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
AddLine = Callable[[str, int, ParsedLines], str | None]
"""Adds the content of a stripped line with its number. Returns the problem with the line, or None."""


@dataclass(frozen=True, slots=True)
class ListFormat:
    """A list format. `parse(lines, first, source)` parses lines of which the first has the number `first`."""

    name: str
    parse: Callable[[Sequence[str], int, str], ParsedLines]
    is_typical: Callable[[str], bool]
    is_comment: Callable[[str], bool]


def line_format(
    name: str, is_typical: Callable[[str], bool], is_comment: Callable[[str], bool], add: AddLine
) -> ListFormat:
    """Return a format whose parser calls `add` for each line that is not a comment."""

    def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
        parsed = ParsedLines()
        for number, raw in enumerate(lines, first):
            line = raw.strip()
            if not line or is_comment(line):
                parsed.ignored["comments"] += 1
            elif problem := add(line, number, parsed):
                parsed.problems.append(Problem(source, number, 1, problem, line[:200]))
        return parsed

    return ListFormat(name, parse, is_typical, is_comment)


def add_host(name: str, parsed: ParsedLines, to: list[str] | None = None) -> str | None:
    """Add a name to `to`, by default to the hosts. Return the problem with it, or None."""
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
    """Add public addresses and networks, all or none. Return the problem with them, or None."""
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
