"""Hosts files (hosts(5)): a sink address and one or more names per line, with `#` comments.

A name stands for itself and its subdomains: the publisher of a hosts list cannot write a wildcard and means the site.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import LOCAL_NAMES, ListFormat, add_host
from hedgerow.blocklists.names import HOST, is_address, parse_host
from hedgerow.blocklists.rules import ParsedLines, Problem

_TYPICAL = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F.]*+:[0-9a-fA-F:.%a-z]*+)\s++[^\s#]")
_SINK = re.compile(r"0\.0\.0\.0|127(?:\.\d{1,3}){3}|255\.255\.255\.255|0|::|::0|::1|(?:fe80::1%|ff0[0-9]::)\S*")


def _is_typical(line: str) -> bool:
    return _TYPICAL.match(line) is not None


def _parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    parsed = ParsedLines()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, line in enumerate(lines, first):
        fields = line.lower().split()
        # The common line, without a call more: a sink and one canonical name that can be neither an address nor one
        # label.
        if (
            len(fields) == 2
            and fields[0] in ("0.0.0.0", "127.0.0.1")  # noqa: S104
            and _is_common(name := fields[1])
            and matches(name)
        ):
            add(name)
        else:
            _parse_other(line.strip(), number, source, parsed)
    return parsed


def _is_common(name: str) -> bool:
    return name[-1] >= "a" and "." in name and len(name) < 254 and name not in LOCAL_NAMES


def _parse_other(line: str, number: int, source: str, parsed: ParsedLines) -> None:
    address, *names = re.split(r"[#!]", line, maxsplit=1)[0].lower().split() or [""]
    if not address:
        parsed.ignored["comments"] += 1
    elif _SINK.fullmatch(address) is None:
        host = parse_host(address.partition("%")[0])
        message = (
            "points to an address that is no sink: not a block"
            if host and is_address(host)
            else "does not begin with an address"
        )
        parsed.problems.append(Problem(source, number, 1, message, line[:200]))
    elif not names:
        parsed.problems.append(Problem(source, number, 1, "a line without a name after the address", line[:200]))
    text, at = line.lower(), len(address)
    for name in names if _SINK.fullmatch(address) else ():
        at = text.find(name, at)
        if problem := add_host(name, parsed):
            parsed.problems.append(Problem(source, number, at + 1, problem, line[:200]))
        at += len(name)


FORMAT = ListFormat("hosts", _parse, _is_typical, methodcaller("startswith", ("#", "!")))
