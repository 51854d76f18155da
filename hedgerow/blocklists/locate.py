"""Finding the line of a list that names a domain: slow, for when somebody asks why."""

from __future__ import annotations

import re
from pathlib import Path

from hedgerow.blocklists.formats import format_named
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.text import read_lines


def find_host(text: Path, format_name: str, domain: str) -> tuple[int, str] | None:
    """The number and text of the first line by which the list names exactly `domain`.

    None if there is none, or if the copy is gone because its generation was pruned.
    """
    known = format_named(format_name)
    if known is None:
        return None
    # Only lines that hold the name, or that may hold it in another form, are worth parsing.
    likely = re.compile(re.escape(domain) + r"|[^\x00-\x7f]|:", re.IGNORECASE)
    problems: list[Problem] = []
    try:
        for first, lines in read_lines(text, "", problems):
            for number, line in enumerate(lines, first):
                if likely.search(line):
                    parsed = known.parse([line], number, "")
                    if domain in parsed.hosts or domain in parsed.exact:
                        return number, line.strip()
    except OSError:
        return None
    return None
