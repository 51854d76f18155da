"""Plain lists: a domain per line, with `#` or `!` comments; also `*.domain`, `.domain` and `domain/path`.

A domain stands for itself and its subdomains. A path stands for everything beneath it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import LOCAL_NAMES, SINGLE_LABEL, ListFormat
from hedgerow.blocklists.names import HOST, parse_host, unescape
from hedgerow.blocklists.rules import ParsedLines, PatternKind, Problem, UrlRule

_TYPICAL = re.compile(r"(?:\*?\.)?(?:[\w-]{1,63}\.)+[\w-]{2,63}\.?(?:/\S*)?(?:\s+#.*)?|\S[^\s:]*+:[^\s:]*+:\S++")
_COMMENT = re.compile(r"(?<!\s)\s++[#;!]")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_END = r"(?:[^A-Za-z0-9_.%-]|$)"
_is_comment = methodcaller("startswith", ("#", "!", ";", "//"))


def _is_typical(line: str) -> bool:
    return _TYPICAL.fullmatch(line) is not None


def _is_wildcard(line: str) -> bool:
    return line.startswith(("*.", ".")) and _is_typical(line)


def _parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    parsed = ParsedLines()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, raw in enumerate(lines, first):
        line = raw.strip().lower()
        # The common line, without a call more: a canonical name that can be neither an address nor one label.
        if matches(line) and "." in line and line[-1] >= "a" and len(line) < 254:
            add(line)
        else:
            _parse_other(raw.strip(), number, source, parsed)
    return parsed


def _parse_other(text: str, number: int, source: str, parsed: ParsedLines) -> None:
    if not text or _is_comment(text):
        parsed.ignored["comments"] += 1
        return
    rule = _SCHEME.sub("", _COMMENT.split(text, maxsplit=1)[0].strip(), count=1)
    name, _slash, path = rule.partition("/")
    host = parse_host(name.removeprefix("*").removeprefix("."))
    if host is None:
        parsed.problems.append(Problem(source, number, 1, "neither a domain nor an address", text[:200]))
    elif host in LOCAL_NAMES:
        parsed.ignored["local names"] += 1
    elif "." not in host and ":" not in host:
        parsed.problems.append(Problem(source, number, 1, SINGLE_LABEL, text[:200]))
    elif not path:
        parsed.hosts.append(host)
    elif {"*", "^", "|", " "}.isdisjoint(path):
        end = "" if path.endswith("/") else "^"
        parsed.urls.append(UrlRule(f"||{host}/{path}{end}", host, number, text[:1000]))
    else:
        parsed.problems.append(
            Problem(source, number, len(host) + 2, "a path with a wildcard or a space in a plain list", text[:200])
        )


def _parse_urls(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Parse squidGuard's `urls`, in whose paths no character has a special meaning."""
    parsed = _parse(lines, first, source)
    literal = [
        problem for problem in parsed.problems if "wildcard or a space" in problem.message and " " not in problem.text
    ]
    for problem in literal:
        name, _, path = _SCHEME.sub("", problem.text, count=1).partition("/")
        host = parse_host(name)
        if host is not None and problem.line is not None:
            pattern = rf"^[a-z]+://(?:[^/:]*\.)?{re.escape(host)}(?::\d+)?/{re.escape(unescape(path))}"
            pattern += "" if path.endswith("/") else _END
            parsed.urls.append(UrlRule(pattern, host, problem.line, problem.text, kind=PatternKind.REGEX))
            parsed.problems.remove(problem)
    return parsed


FORMAT = ListFormat("plain", _parse, _is_typical, _is_comment)
WILDCARD_FORMAT = replace(FORMAT, name="wildcard", is_typical=_is_wildcard)
URLS_FORMAT = replace(FORMAT, name="urls", parse=_parse_urls)
