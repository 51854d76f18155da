"""Lists of regular expressions about host names, one a line, as Pi-hole has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hedgerow.blocklists.formats.line_parser import parse_lines
from hedgerow.blocklists.patterns import BadRegex, matches_nearly_everything
from hedgerow.blocklists.rules import ParsedLines, PatternKind, UrlRule

TOO_WIDE = "a regular expression that would match nearly everything"
_TYPICAL = re.compile(r"\^.*|.*\$|.*\\[.dw].*|.*[\[(].*[\])].*")


def is_typical(line: str) -> bool:
    return not line.startswith(("||", "@@", "/")) and "##" not in line and " " not in line and _TYPICAL.fullmatch(line) is not None


def is_comment(line: str) -> bool:
    return line.startswith("#")


def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads lines of which the first has the number `first`."""
    return parse_lines(lines, first, source, is_comment, _add_host_regex)


def parse_expressions(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads squidGuard's `expressions`, which are about URLs without their scheme."""
    return parse_lines(lines, first, source, is_comment, _add_expression)


def add_regex(pattern: str, kind: PatternKind, number: int, line: str, parsed: ParsedLines) -> str | None:
    """Adds an expression. Returns what is wrong with it instead, if something is."""
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
