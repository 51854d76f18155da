"""Sealed lists: SHA-256 digests of hosts and URLs, 64 hexadecimal digits a line, so that a list can be enforced and not be read.

What is digested is an expression of Safe Browsing, `host/path?query` in canonical form (`blocklists.seals`); `host/` stands for all
of a host. `sha256:` may stand before the digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hedgerow.blocklists.formats.lines import parse_lines
from hedgerow.blocklists.rules import Parsed

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})(?:\s+#.*)?", re.IGNORECASE)


def is_typical(line: str) -> bool:
    return _DIGEST.fullmatch(line) is not None


def is_comment(line: str) -> bool:
    return line.startswith("#")


def parse(lines: Sequence[str], first: int, source: str) -> Parsed:
    """Reads lines of which the first has the number `first`. A problem never shows the line: it may be what was to be sealed."""
    parsed = parse_lines(lines, first, source, is_comment, _add)
    parsed.problems = [type(problem)(problem.source, problem.line, problem.column, problem.message) for problem in parsed.problems]
    return parsed


def _add(line: str, _number: int, parsed: Parsed) -> str | None:
    digest = _DIGEST.fullmatch(line)
    if digest is None:
        return "not a SHA-256 digest: 64 hexadecimal digits"
    parsed.sealed.append(digest[1].lower())
    return None
