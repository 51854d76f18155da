"""The formats in which lists are published: one file each, with its detection and its parser.

A parser is pure: numbered lines in, `Parsed` out, and one bad line never stops a list. `detect` tells the format by the
content, never by a file's name. What is absent: files, compression and encodings (`blocklists.text`), and the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hedgerow.blocklists.formats import adblock, hosts, plain
from hedgerow.blocklists.rules import Parsed


@dataclass(frozen=True, slots=True)
class ListFormat:
    """`parse(lines, first, source)` reads lines of which the first has the number `first`; `is_typical` looks at one line."""

    name: str
    parse: Callable[[Sequence[str], int, str], Parsed]
    is_typical: Callable[[str], bool]
    is_comment: Callable[[str], bool]


FORMATS: tuple[ListFormat, ...] = (
    ListFormat("adblock", adblock.parse, adblock.is_typical, adblock.is_comment),
    ListFormat("hosts", hosts.parse, hosts.is_typical, hosts.is_comment),
    ListFormat("plain", plain.parse, plain.is_typical, plain.is_comment),
)


def format_named(name: str) -> ListFormat | None:
    return next((known for known in FORMATS if known.name == name), None)


def detect(lines: Iterable[str]) -> ListFormat | None:
    """The format of which most lines are typical, None if no format explains at least half of them.

    >>> detect(["# comment", "0.0.0.0 example.com"]).name
    'hosts'
    """
    sample = [line.strip() for line in lines]
    if any(adblock.is_header(line) for line in sample[:3]):
        return format_named("adblock")
    scored = [(_typical_share(known, sample), known) for known in FORMATS]
    # max keeps the first of equals, so the order of FORMATS settles ties.
    share, best = max(scored, key=lambda pair: pair[0])
    return best if share >= 0.5 else None


def _typical_share(known: ListFormat, sample: list[str]) -> float:
    rules = [line for line in sample if line and not known.is_comment(line)]
    return sum(map(known.is_typical, rules)) / len(rules) if rules else 0.0
