"""Finding the line of a list that names a domain or a network: slow, for when somebody asks why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hedgerow.blocklists.formats import ListFormat, detect, format_named
from hedgerow.blocklists.line_reader import LineBlock, read_line_blocks
from hedgerow.blocklists.rules import ParsedLines, Problem


class ListLine(NamedTuple):
    """A line of a list, `file` of a list that has several; `number` is None where it could not be found."""

    file: str = ""
    number: int | None = None
    text: str = ""


def find_host(text: Path, format_name: str, domain: str) -> ListLine:
    """The first line by which the list names exactly `domain`; none if its copy is gone because its generation was pruned."""
    # Only lines that hold the name, or that may hold it in another form, are worth parsing.
    likely = re.compile(re.escape(domain) + r"|[^\x00-\x7f]|:", re.IGNORECASE)
    return _find(text, format_name, likely, lambda parsed: domain in parsed.hosts or domain in parsed.exact)


def find_network(text: Path, format_name: str, key: str) -> ListLine:
    """The first line by which the list names exactly the network of an index key (`names.network_key`)."""
    return _find(text, format_name, re.compile(r"\d|:"), lambda parsed: key in parsed.networks)


def _find(text: Path, format_name: str, likely: re.Pattern[str], names: Callable[[ParsedLines], bool]) -> ListLine:
    problems: list[Problem] = []
    try:
        for stretch in read_line_blocks(text, "", problems):
            known = _format_of(stretch, format_name)
            for number, line in enumerate(stretch.lines, stretch.first) if known else ():
                if likely.search(line) and known is not None and names(known.parse([line], number, "")):
                    return ListLine(stretch.file, number, line.strip())
    except OSError:
        return ListLine()
    return ListLine()


def _format_of(stretch: LineBlock, name: str) -> ListFormat | None:
    if not stretch.file:
        return format_named(name)
    return detect(stretch.lines[:5000]) if stretch.format == "auto" else format_named(stretch.format)
