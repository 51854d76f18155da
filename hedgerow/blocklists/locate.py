"""Finding the line of a list that names a domain: slow, for when somebody asks why."""

from __future__ import annotations

import re
from pathlib import Path

from hedgerow.blocklists.formats import ListFormat, detect, format_named
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.text import Stretch, read_stretches


def find_host(text: Path, format_name: str, domain: str) -> tuple[str, int, str] | None:
    """The file (of a list that has several), number and text of the first line by which the list names exactly `domain`.

    None if there is none, or if the copy is gone because its generation was pruned.
    """
    # Only lines that hold the name, or that may hold it in another form, are worth parsing.
    likely = re.compile(re.escape(domain) + r"|[^\x00-\x7f]|:", re.IGNORECASE)
    problems: list[Problem] = []
    try:
        for stretch in read_stretches(text, "", problems):
            known = _format_of(stretch, format_name)
            for number, line in enumerate(stretch.lines, stretch.first) if known else ():
                if likely.search(line) and known is not None:
                    parsed = known.parse([line], number, "")
                    if domain in parsed.hosts or domain in parsed.exact:
                        return stretch.file, number, line.strip()
    except OSError:
        return None
    return None


def _format_of(stretch: Stretch, name: str) -> ListFormat | None:
    if not stretch.file:
        return format_named(name)
    return detect(stretch.lines[:5000]) if stretch.format == "auto" else format_named(stretch.format)
