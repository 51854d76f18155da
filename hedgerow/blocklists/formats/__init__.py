"""The formats in which lists are published: one file each, with its detection and its parser.

A parser is pure: numbered lines in, `ParsedLines` out, and one bad line never stops a list. `detect` tells the format by the
content, never by a file's name. What is absent: files, compression and encodings (`blocklists.text`, `blocklists.unpack`), and
the index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hedgerow.blocklists.formats import adblock, dnsmasq, hosts, ips, plain, regex, rpz, sealed, unbound, v2fly
from hedgerow.blocklists.rules import ParsedLines


@dataclass(frozen=True, slots=True)
class ListFormat:
    """`parse(lines, first, source)` reads lines of which the first has the number `first`; `is_typical` looks at one line."""

    name: str
    parse: Callable[[Sequence[str], int, str], ParsedLines]
    is_typical: Callable[[str], bool]
    is_comment: Callable[[str], bool]


FORMATS: tuple[ListFormat, ...] = (
    ListFormat("sealed", sealed.parse, sealed.is_typical, sealed.is_comment),
    ListFormat("dnsmasq", dnsmasq.parse, dnsmasq.is_typical, dnsmasq.is_comment),
    ListFormat("unbound", unbound.parse, unbound.is_typical, unbound.is_comment),
    ListFormat("rpz", rpz.parse, rpz.is_typical, rpz.is_comment),
    ListFormat("adblock", adblock.parse, adblock.is_typical, adblock.is_comment),
    ListFormat("hosts", hosts.parse, hosts.is_typical, hosts.is_comment),
    ListFormat("ips", ips.parse, ips.is_typical, ips.is_comment),
    ListFormat("wildcard", plain.parse, plain.is_wildcard, plain.is_comment),
    ListFormat("plain", plain.parse, plain.is_typical, plain.is_comment),
    ListFormat("regex", regex.parse, regex.is_typical, regex.is_comment),
    ListFormat("v2fly", v2fly.parse, v2fly.is_typical, v2fly.is_comment),
)
# What only a folder or an archive holds: its files are read as these.
_PARTS: tuple[ListFormat, ...] = (
    ListFormat("urls", plain.parse_urls, plain.is_typical, plain.is_comment),
    ListFormat("expressions", regex.parse_expressions, regex.is_typical, regex.is_comment),
)
_FILTERED = re.compile(r"v2fly((?:@-?[^@\s]+)+)")


def format_named(name: str) -> ListFormat | None:
    """The format of that name. `v2fly@a@-b` is v2fly's with a filter: lines that have the attribute `a` and have no `b`."""
    if filtered := _FILTERED.fullmatch(name):
        marks = filtered[1][1:].split("@")
        unwanted = frozenset(mark[1:] for mark in marks if mark.startswith("-"))
        wanted = frozenset(mark for mark in marks if not mark.startswith("-"))
        return ListFormat(name, v2fly.parser_of(wanted, unwanted), v2fly.is_typical, v2fly.is_comment)
    return next((known for known in (*FORMATS, *_PARTS) if known.name == name), None)


def detect(lines: Iterable[str]) -> ListFormat | None:
    """The format of which most lines are typical, None if no format explains at least half of them.

    >>> detect(["# comment", "0.0.0.0 example.com"]).name
    'hosts'
    """
    sample = [line.strip() for line in lines]
    if any(adblock.is_header(line) for line in sample[:3]):
        return format_named("adblock")
    if any(line.startswith(("include:", "full:", "regexp:", "keyword:")) for line in sample):
        return format_named("v2fly")
    scored = [(_typical_share(known, sample), known) for known in FORMATS]
    # max keeps the first of equals, so the order of FORMATS settles ties.
    share, best = max(scored, key=lambda pair: pair[0])
    return best if share >= 0.5 else None


def _typical_share(known: ListFormat, sample: list[str]) -> float:
    rules = [line for line in sample if line and not known.is_comment(line)]
    return sum(map(known.is_typical, rules)) / len(rules) if rules else 0.0
