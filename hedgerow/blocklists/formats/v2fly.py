"""Sources of v2fly's domain lists: `domain:`, `full:`, `keyword:`, `regexp:` and `include:` with `@attributes`.

Source: https://github.com/v2fly/domain-list-community. A line without a type is a `domain:`. What is included is put together when
the list is taken in (`blocklists.unpack`); an `include:` that is left is one that could not be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hedgerow.blocklists.formats.line_parser import add_host, parse_lines
from hedgerow.blocklists.formats.regex import add_regex
from hedgerow.blocklists.rules import ParsedLines, PatternKind

SHORTEST_KEYWORD = 4
_ATTRIBUTE = re.compile(r"@([^\s@]+)")


def is_typical(line: str) -> bool:
    return line.startswith(("domain:", "full:", "keyword:", "regexp:", "include:")) or " @" in line


def is_comment(line: str) -> bool:
    return line.startswith("#")


def attributes_of(line: str) -> frozenset[str]:
    return frozenset(_ATTRIBUTE.findall(line.partition("#")[0]))


def parser_of(wanted: frozenset[str], unwanted: frozenset[str]) -> Callable[[Sequence[str], int, str], ParsedLines]:
    """The parser of a file that was included with a filter: `@a` takes lines with the attribute, `@-a` leaves them out."""

    def parse_filtered(lines: Sequence[str], first: int, source: str) -> ParsedLines:
        def skip(line: str) -> bool:
            found = attributes_of(line)
            return is_comment(line) or not wanted <= found or not unwanted.isdisjoint(found)

        return parse_lines(lines, first, source, skip, _add)

    return parse_filtered


def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads lines of which the first has the number `first`."""
    return parse_lines(lines, first, source, is_comment, _add)


def _add(line: str, number: int, parsed: ParsedLines) -> str | None:
    rule = re.split(r"\s+[#&]", line, maxsplit=1)[0]
    rule = rule.partition(" @")[0].strip() if not rule.startswith("regexp:") else re.split(r"\s+@", rule, maxsplit=1)[0].strip()
    kind, colon, value = rule.partition(":")
    match kind if colon else "domain":
        case "domain":
            return add_host(value if colon else rule, parsed)
        case "full":
            return add_host(value, parsed, parsed.exact)
        case "keyword" if sum(map(str.isalnum, value)) >= SHORTEST_KEYWORD:
            return add_regex(re.escape(value.lower()), PatternKind.HOST_REGEX, number, line, parsed)
        case "keyword":
            return "too short: it would match nearly every name"
        case "regexp":
            return add_regex(value, PatternKind.HOST_REGEX, number, line, parsed)
        case "include":
            parsed.ignored["included files"] += 1
            return None
        case _:
            return f"no such type of rule: {kind[:30]}"
