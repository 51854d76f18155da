"""Hosts files (hosts(5)): a sink address and one or more names a line, with `#` comments.

A name stands for itself and its subdomains: who publishes a hosts list cannot write a wildcard and means the site.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hedgerow.blocklists.names import HOST, is_address, parse_host
from hedgerow.blocklists.rules import ParsedLines, Problem

_TYPICAL = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:.]*::?[0-9a-fA-F:.%a-z]*)\s+[^\s#]")
_SINK = re.compile(r"0\.0\.0\.0|127(?:\.\d{1,3}){3}|255\.255\.255\.255|0|::|::0|::1|(?:fe80::1%|ff0[0-9]::)\S*")
_LOCAL = frozenset(
    {"localhost", "localhost4", "localhost6", "localhost.localdomain", "localhost4.localdomain4", "localhost6.localdomain6"}
    | {"local", "broadcasthost", "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix"}
    | {"ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0"}  # noqa: S104 (an entry, not a bind)
)


def is_typical(line: str) -> bool:
    return _TYPICAL.match(line) is not None


def is_comment(line: str) -> bool:
    return line.startswith(("#", "!"))


def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads lines of which the first has the number `first`."""
    parsed = ParsedLines()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, line in enumerate(lines, first):
        fields = line.lower().split()
        # The common line: a sink and one canonical name that can be neither an address nor one label.
        if len(fields) == 2 and fields[0] in ("0.0.0.0", "127.0.0.1") and _is_common(name := fields[1]) and matches(name):  # noqa: S104
            add(name)
        else:
            _parse_other(line.strip(), number, source, parsed)
    return parsed


def _is_common(name: str) -> bool:
    return name[-1] >= "a" and "." in name and len(name) < 254 and name not in _LOCAL


def _parse_other(line: str, number: int, source: str, parsed: ParsedLines) -> None:
    rule = re.split(r"[#!]", line, maxsplit=1)[0]
    address, *names = rule.lower().split() or [""]
    if not address:
        parsed.ignored["comments"] += 1
    elif _SINK.fullmatch(address) is None:
        known = parse_host(address.partition("%")[0])
        what = "points to an address that is no sink: not a block" if known and is_address(known) else "does not begin with an address"
        parsed.problems.append(Problem(source, number, 1, what, line[:200]))
    elif not names:
        parsed.problems.append(Problem(source, number, 1, "a line without a name after the address", line[:200]))
    else:
        for name in names:
            _add_name(name, line, number, source, parsed)


def _add_name(name: str, line: str, number: int, source: str, parsed: ParsedLines) -> None:
    column = line.lower().find(name) + 1
    host = parse_host(name)
    if name in _LOCAL:
        parsed.ignored["local names"] += 1
    elif host is None:
        parsed.problems.append(Problem(source, number, column, "not a host name", line[:200]))
    elif "." not in host and ":" not in host:
        parsed.problems.append(Problem(source, number, column, "a single label would block a whole top-level domain", line[:200]))
    else:
        parsed.hosts.append(host)
