"""The lines of lists that name a host or a network.

Slow, for explanations: it reads the generation's copies of the lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.formats import detect, format_named
from hedgerow.blocklists.formats.line_parser import ListFormat
from hedgerow.blocklists.formats.sealed import host_expressions
from hedgerow.blocklists.generation import SourceMeta
from hedgerow.blocklists.line_reader import LineBlock, read_line_blocks
from hedgerow.blocklists.names import host_of_key, is_address
from hedgerow.blocklists.rules import Origin, Problem


def locate(catalogue: Catalogue, host: str, category: str) -> Origin | None:
    """Return the first line by which a list gives a canonical host its category; None if no list does."""
    return next(locate_all(catalogue, host, category), None)


def locate_all(catalogue: Catalogue, host: str, category: str) -> Iterator[Origin]:
    """Yield every line by which lists give a canonical host its category.

    The line is unknown where the copy of a list is gone because its generation was pruned, and for sealed lists.
    """
    hosts, sources = catalogue.hosts, {source.name: source for source in catalogue.sources}
    for match in hosts.sources(host):
        if match.category == category:
            yield _find_line(catalogue.generation, sources[match.source], match.domain)
    mask = catalogue.mask_of([category]) & catalogue.host_mask(host)
    for pattern in hosts.patterns.matching(host):
        if pattern.mask & mask and not pattern.rule.exception:
            yield pattern.rule.origin(catalogue.sources[pattern.source].name)
    if mask & hosts.sealed & hosts.sealed_mask(host_expressions(host)):
        yield Origin(hosts.sealed_sources[category])
    found = hosts.address_source(host, category) if mask and is_address(host) else None
    if found is not None:
        source, key = found
        yield _find_line(catalogue.generation, source, key if key.startswith("!") else host_of_key(key))


def _find_line(generation: Path, source: SourceMeta, name: str) -> Origin:
    """Return the first line by which a list names exactly a host, or the network of an index key
    (`names.network_key`).
    """
    is_network = name.startswith("!")
    # Only lines that hold the name, or that may hold it in another form, are worth parsing.
    likely = re.compile(r"\d|:" if is_network else re.escape(name) + r"|[^\x00-\x7f]|:", re.IGNORECASE)
    problems: list[Problem] = []
    try:
        for block in read_line_blocks(generation / source.text, "", problems):
            known = _format_of(block, source.format)
            for number, line in enumerate(block.lines, block.first) if known else ():
                if likely.search(line) and known is not None:
                    parsed = known.parse([line], number, "")
                    if name in (parsed.networks if is_network else (*parsed.hosts, *parsed.exact)):
                        return Origin(
                            f"{source.name}: {block.file}" if block.file else source.name, number, line.strip()
                        )
    except OSError:
        pass
    return Origin(source.name)


def _format_of(block: LineBlock, name: str) -> ListFormat | None:
    if not block.file:
        return format_named(name)
    return detect(block.lines[:5000]) if block.format == "auto" else format_named(block.format)
