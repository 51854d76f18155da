"""Lists of regular expressions about host names, one per line, as Pi-hole has them; and squidGuard's, about URLs
without their scheme.
"""

from __future__ import annotations

import re
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import line_format
from hedgerow.blocklists.patterns import BadRegex, matches_nearly_everything
from hedgerow.blocklists.rules import ParsedLines, PatternKind, UrlRule

TOO_WIDE = "a regular expression that would match nearly everything"
_TYPICAL = re.compile(r"\^.*|.*\$|.*\\[.dw].*|[^\[(]*+[\[(].*[\])].*")


def _is_typical(line: str) -> bool:
    return (
        not line.startswith(("||", "@@", "/"))
        and "##" not in line
        and " " not in line
        and _TYPICAL.fullmatch(line) is not None
    )


def add_regex(pattern: str, kind: PatternKind, number: int, line: str, parsed: ParsedLines) -> str | None:
    """Add an expression. Return the problem with it, or None."""
    rule = UrlRule(pattern, "", number, line[:1000], kind=kind)
    try:
        if matches_nearly_everything(rule):
            return TOO_WIDE
    except BadRegex as reason:
        return str(reason)
    parsed.urls.append(rule)
    return None


def _add_host_regex(line: str, number: int, parsed: ParsedLines) -> str | None:
    if ";" in line:
        return "conditions of Pi-hole's (after `;`) are not honoured"
    return add_regex(line, PatternKind.HOST_REGEX, number, line, parsed)


def _add_expression(line: str, number: int, parsed: ParsedLines) -> str | None:
    return add_regex(line, PatternKind.EXPRESSION, number, line, parsed)


FORMAT = line_format("regex", _is_typical, methodcaller("startswith", "#"), _add_host_regex)
EXPRESSIONS_FORMAT = line_format("expressions", _is_typical, methodcaller("startswith", "#"), _add_expression)
