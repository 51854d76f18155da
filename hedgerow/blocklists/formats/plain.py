"""Plain lists: a domain a line, with `#` or `!` comments; also `*.domain`, `.domain` and `domain/path`.

A domain stands for itself and its subdomains. A path stands for what lies under it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hedgerow.blocklists.names import HOST, parse_host, unescape
from hedgerow.blocklists.rules import ParsedLines, PatternKind, Problem, UrlRule

_TYPICAL = re.compile(r"(?:\*?\.)?(?:[\w-]{1,63}\.)+[\w-]{2,63}\.?(?:/\S*)?(?:\s+#.*)?|\S+:\S*:\S+")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_END = r"(?:[^A-Za-z0-9_.%-]|$)"
_NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "localhost", "localhost.localdomain"})  # noqa: S104 (an entry, not a bind)


def is_typical(line: str) -> bool:
    return _TYPICAL.fullmatch(line) is not None


def is_wildcard(line: str) -> bool:
    return line.startswith(("*.", ".")) and is_typical(line)


def is_comment(line: str) -> bool:
    return line.startswith(("#", "!", ";", "//"))


def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads lines of which the first has the number `first`."""
    parsed = ParsedLines()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, raw in enumerate(lines, first):
        line = raw.strip().lower()
        # The common line, without a call more: a canonical name that can be neither an address nor one label.
        if matches(line) and "." in line and line[-1] >= "a" and len(line) < 254:
            add(line)
        else:
            _parse_other(line, raw, number, source, parsed)
    return parsed


def _parse_other(line: str, raw: str, number: int, source: str, parsed: ParsedLines) -> None:
    if not line or is_comment(line):
        parsed.ignored["comments"] += 1
        return
    text = raw.strip()
    rule = _SCHEME.sub("", re.split(r"\s+[#;!]", text, maxsplit=1)[0].strip(), count=1)
    name, slash, path = rule.partition("/")
    host = parse_host(name.removeprefix("*").removeprefix("."))
    if host is None:
        parsed.problems.append(Problem(source, number, 1, "neither a domain nor an address", text[:200]))
    elif host in _NOWHERE:
        parsed.ignored["local names"] += 1
    elif "." not in host and ":" not in host:
        parsed.problems.append(Problem(source, number, 1, "a single label would block a whole top-level domain", text[:200]))
    elif slash and path:
        _add_path(host, path, number, text, source, parsed)
    else:
        parsed.hosts.append(host)


def _add_path(host: str, path: str, number: int, text: str, source: str, parsed: ParsedLines) -> None:
    if any(character in path for character in "*^|") or " " in path:
        parsed.problems.append(Problem(source, number, len(host) + 2, "a path with a wildcard or a space in a plain list", text[:200]))
        return
    end = "" if path.endswith("/") else "^"
    parsed.urls.append(UrlRule(f"||{host}/{path}{end}", host, number, text[:1000]))


def parse_urls(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    """Reads squidGuard's `urls`, in whose paths no character means anything but itself."""
    parsed = parse(lines, first, source)
    literal = [problem for problem in parsed.problems if "wildcard or a space" in problem.message and " " not in problem.text]
    for problem in literal:
        name, _, path = _SCHEME.sub("", problem.text, count=1).partition("/")
        host = parse_host(name)
        if host is not None and problem.line is not None:
            pattern = rf"^[a-z]+://(?:[^/:]*\.)?{re.escape(host)}(?::\d+)?/{re.escape(unescape(path))}"
            pattern += "" if path.endswith("/") else _END
            parsed.urls.append(UrlRule(pattern, host, problem.line, problem.text, kind=PatternKind.REGEX))
            parsed.problems.remove(problem)
    return parsed
