"""Sources of v2fly's domain lists: `domain:`, `full:`, `keyword:`, `regexp:` and `include:` with `@attributes`.

Source: https://github.com/v2fly/domain-list-community. A line without a type is a `domain:`. `archives` resolves an
`include:`; one that is left here names a file that was not found.
"""

from __future__ import annotations

import re
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import ListFormat, add_host, line_format
from hedgerow.blocklists.formats.regex import add_regex
from hedgerow.blocklists.rules import ParsedLines, PatternKind

SHORTEST_KEYWORD = 4
_COMMENT = re.compile(r"(?<!\s)\s++[#&]")
_ATTRIBUTES = re.compile(r"(?<!\s)\s++@")
_ATTRIBUTE = re.compile(r"@([^\s@]+)")


def _is_typical(line: str) -> bool:
    return line.startswith(("domain:", "full:", "keyword:", "regexp:", "include:")) or " @" in line


def attributes_of(line: str) -> frozenset[str]:
    return frozenset(_ATTRIBUTE.findall(line.partition("#")[0]))


def filtered_format(name: str, wanted: frozenset[str], unwanted: frozenset[str]) -> ListFormat:
    """Return the format of a file that was included with a filter: only lines with all `wanted` attributes and no
    `unwanted` one.
    """

    def is_left_out(line: str) -> bool:
        attributes = attributes_of(line)
        return line.startswith("#") or not wanted <= attributes or not unwanted.isdisjoint(attributes)

    return line_format(name, _is_typical, is_left_out, _add)


def _add(line: str, number: int, parsed: ParsedLines) -> str | None:
    rule = _COMMENT.split(line, maxsplit=1)[0]
    rule = (
        rule.partition(" @")[0].strip()
        if not rule.startswith("regexp:")
        else _ATTRIBUTES.split(rule, maxsplit=1)[0].strip()
    )
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


FORMAT = line_format("v2fly", _is_typical, methodcaller("startswith", "#"), _add)
