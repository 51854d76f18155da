"""The formats in which lists are published: one file each, with its detection and its parser.

A parser is pure: numbered lines in, `ParsedLines` out, and one bad line never stops a list. `detect` tells the format
by the content, never by a file name. Deliberately absent: files, compression and encodings (`line_reader`, `archives`),
and the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hedgerow.blocklists.formats import adblock, dnsmasq, hosts, ips, plain, regex, rpz, sealed, unbound, v2fly
from hedgerow.blocklists.formats.line_parser import ListFormat

FORMATS: tuple[ListFormat, ...] = (
    sealed.FORMAT,
    dnsmasq.FORMAT,
    unbound.FORMAT,
    rpz.FORMAT,
    adblock.FORMAT,
    hosts.FORMAT,
    ips.FORMAT,
    plain.WILDCARD_FORMAT,
    plain.FORMAT,
    regex.FORMAT,
    v2fly.FORMAT,
)
_BUNDLE_FORMATS = (plain.URLS_FORMAT, regex.EXPRESSIONS_FORMAT)  # of files in squidGuard's folders and archives
_FILTERED = re.compile(r"v2fly((?:@-?[^@\s]+)+)")


def format_named(name: str) -> ListFormat | None:
    """Return the format of a name.

    `v2fly@a@-b` is v2fly's with a filter: lines with the attribute `a` and without `b`.
    """
    if filtered := _FILTERED.fullmatch(name):
        marks = filtered[1][1:].split("@")
        unwanted = frozenset(mark[1:] for mark in marks if mark.startswith("-"))
        wanted = frozenset(mark for mark in marks if not mark.startswith("-"))
        return v2fly.filtered_format(name, wanted, unwanted)
    return next((known for known in (*FORMATS, *_BUNDLE_FORMATS) if known.name == name), None)


def detect(lines: Iterable[str]) -> ListFormat | None:
    """Return the format that most lines are written in, None if no format fits at least half of them.

    >>> detect(["# comment", "0.0.0.0 example.com"]).name
    'hosts'
    """
    sample = [line.strip() for line in lines]
    if any(adblock.is_header(line) for line in sample[:3]):
        return adblock.FORMAT
    if any(line.startswith(("include:", "full:", "regexp:", "keyword:")) for line in sample):
        return v2fly.FORMAT
    scored = [(_typical_share(known, sample), known) for known in FORMATS]
    # max keeps the first of equals, so the order of FORMATS settles ties.
    share, best = max(scored, key=lambda pair: pair[0])
    return best if share >= 0.5 else None


def _typical_share(known: ListFormat, sample: list[str]) -> float:
    rules = [line for line in sample if line and not known.is_comment(line)]
    return sum(map(known.is_typical, rules)) / len(rules) if rules else 0.0
