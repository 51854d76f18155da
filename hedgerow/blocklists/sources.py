"""Sources: the lists that are compiled, those that come with Hedgerow, and the public ones that it knows where to fetch."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hedgerow.blocklists.categories import DATA
from hedgerow.blocklists.generation import ALL_CATEGORIES
from hedgerow.blocklists.names import parse_host


@dataclass(frozen=True, slots=True)
class Source:
    """A list: what it is called, what its names are, and where it lies.

    `path` is a file to read; a source with only a `url` has to be fetched first (`fetch.fetch_all` fills in the path).
    `format` is a format's name, or "auto" to tell it by the content. `name` stands in reports and reasons, once each.
    `refresh` is the number of seconds after which the list is too old to be relied on, as its publisher or owner states it.
    """

    name: str
    category: str
    path: Path | None = None
    url: str | None = None
    format: str = "auto"
    refresh: float | None = None


def starter_sources(folder: Path = DATA / "starter") -> tuple[Source, ...]:
    """The lists that come with Hedgerow: one file of plain domains for each category, named after it."""
    return tuple(
        Source(name=f"starter/{path.stem}", category=path.stem, path=path, format="plain") for path in sorted(folder.glob("*.txt"))
    )


@dataclass(frozen=True, slots=True)
class PublicSource:
    """A list that somebody publishes, as `data/sources.yaml` knows it. `size` is a rough number of rules; `default_for` are the
    profiles for which it is fetched unless a policy keeps to the starter lists."""

    name: str
    category: str
    url: str
    format: str
    licence: str
    homepage: str
    size: int
    default_for: tuple[str, ...] = ()
    refresh: float | None = None

    def as_source(self) -> Source:
        return Source(self.name, self.category, url=self.url, format=self.format, refresh=self.refresh)


@functools.cache
def public_sources() -> dict[str, PublicSource]:
    """The public lists that a policy can name, by name."""
    return load_public_sources(DATA / "sources.yaml", load_publishers(DATA / "publishers.yaml"))


def load_publishers(path: Path) -> dict[str, str | None]:
    """What each publisher's category (`ut1/adult`) is in our taxonomy; None for what is none of ours."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {f"{publisher}/{theirs}": ours for publisher, table in data.items() for theirs, ours in table.items()}


def load_public_sources(path: Path, publishers: Mapping[str, str | None]) -> dict[str, PublicSource]:
    """Reads a file like `data/sources.yaml`. Raises ValueError for an entry that is not as it must be."""
    found: dict[str, PublicSource] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]:
        source = _read_public(entry, publishers)
        if source.name in found:
            raise ValueError(f"{path}: {source.name} stands there twice")
        found[source.name] = source
    return found


def _read_public(entry: dict[str, Any], publishers: Mapping[str, str | None]) -> PublicSource:
    data = dict(entry)
    try:
        if "theirs" in data:
            data["category"] = publishers[data.pop("theirs")]
        refresh = parse_refresh_interval(str(data.pop("refresh"))) if "refresh" in data else None
        source = PublicSource(**data | {"default_for": tuple(data.get("default_for", ()))}, refresh=refresh)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a public source: {entry!r}: {error}") from error
    if source.category is None:
        raise ValueError(f"{source.name} is of a category of its publisher that is none of ours")
    return source


def parse_refresh_interval(text: str) -> float:
    """A span of time in seconds; raises ValueError.

    >>> parse_refresh_interval("12h"), parse_refresh_interval("7d")
    (43200.0, 604800.0)
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})\s*(m|h|d|w)", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a span of time, such as 12h, 1d or 2w")
    return float(int(match[1]) * {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]])


ESSENTIAL_PROBLEM = "an essential name, which no list may block"
_ESSENTIAL = DATA / "essential.txt"
_POPULAR = DATA / "popular.txt"


def essential_source() -> Source:
    """The essential names as a list whose every name is an exception from all categories that are there to be blocked."""
    return Source("hedgerow/essential", ALL_CATEGORIES, _ESSENTIAL, format="plain")


@functools.cache
def essential_hosts() -> frozenset[str]:
    """The essential names; each stands for what is below it too."""
    return _read_host_file(_ESSENTIAL)


@functools.cache
def popular_hosts() -> frozenset[str]:
    """Well-known names that hardly any list has a reason to hold, for noticing a list gone wrong."""
    return _read_host_file(_POPULAR)


def _read_host_file(path: Path) -> frozenset[str]:
    rules = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(host for host in map(parse_host, filter(None, rules)) if host is not None)
