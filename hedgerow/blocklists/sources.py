"""Sources: the lists that are compiled, and those that come with Hedgerow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hedgerow.blocklists.categories import DATA


@dataclass(frozen=True, slots=True)
class Source:
    """A list: what it is called, what its names are, and where it lies.

    `path` is a file to read; a source with only a `url` has to be fetched first (`fetch.fetch_all` fills in the path).
    `format` is a format's name, or "auto" to tell it by the content. `name` stands in reports and reasons, once each.
    """

    name: str
    category: str
    path: Path | None = None
    url: str | None = None
    format: str = "auto"


def starter_sources(folder: Path = DATA / "starter") -> tuple[Source, ...]:
    """The lists that come with Hedgerow: one file of plain domains for each category, named after it."""
    return tuple(
        Source(name=f"starter/{path.stem}", category=path.stem, path=path, format="plain") for path in sorted(folder.glob("*.txt"))
    )
