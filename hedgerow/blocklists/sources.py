"""Sources of lists: those of a policy, those that come with Hedgerow, and the public ones that it knows."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hedgerow.blocklists.categories import DATA
from hedgerow.blocklists.generation import ALL_CATEGORIES
from hedgerow.blocklists.names import parse_host
from hedgerow.blocklists.yaml_files import read_yaml


@dataclass(frozen=True, slots=True)
class Source:
    """A list: its name in reports and explanations, the category of its entries, and its place.

    `path` is a file to read; a source with only a `url` is downloaded first (`downloader.fetch_all` fills in the path).
    `format` is a format's name, or "auto" to detect it by the content. After `refresh` seconds the list is too old to
    be relied on, as its publisher or owner states. Names in `leave_out`, and those beneath them, are not taken from the
    list.
    """

    name: str
    category: str
    path: Path | None = None
    url: str | None = None
    format: str = "auto"
    refresh: float | None = None
    leave_out: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """The path or, as people may see it, the URL of the list."""
        return shown_url(self.url) if self.url else str(self.path or "")


def shown_url(url: str) -> str:
    """Return a URL as people may see it: without user name, password and query, which often hold a secret.

    >>> shown_url("https://me:secret@lists.example:8443/adult.txt?key=0123")
    'https://lists.example:8443/adult.txt'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@functools.cache
def starter_sources(folder: Path = DATA / "starter") -> tuple[Source, ...]:
    """Return the lists that come with Hedgerow: one file of plain domains per category, named after it."""
    return tuple(
        Source(name=f"starter/{path.stem}", category=path.stem, path=path, format="plain")
        for path in sorted(folder.glob("*.txt"))
    )


@functools.cache
def correction_sources(folder: Path = DATA / "corrections") -> tuple[Source, ...]:
    """Return the lists of exceptions that come with Hedgerow: sites that public lists put into a category by mistake.

    A rule of the policy still blocks them.
    """
    return tuple(
        Source(name=f"corrections/{path.stem}", category=path.stem, path=path, format="adblock")
        for path in sorted(folder.glob("*.txt"))
    )


@dataclass(frozen=True, slots=True)
class PublicSource:
    """A public list of `data/sources.yaml`.

    `size` is a rough number of rules. Unless a policy keeps to the starter lists, the list is fetched for the profiles
    in `default_for`.
    """

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
    """Return the public lists that a policy can name, by name."""
    return load_public_sources(DATA / "sources.yaml", load_publishers(DATA / "publishers.yaml"))


def publisher_of(source: Source) -> str:
    """Return where to tell the publisher of a list about a mistake: its homepage, or the host of its URL."""
    if not source.url:
        return ""
    known = next((each for each in public_sources().values() if each.url == source.url), None)
    return known.homepage if known else urlsplit(source.url).hostname or ""


def load_publishers(path: Path) -> dict[str, str | None]:
    """Read a map from each publisher's categories (`ut1/adult`) to ours; None for one that has no counterpart."""
    data = read_yaml(path)
    return {f"{publisher}/{theirs}": ours for publisher, table in data.items() for theirs, ours in table.items()}


def load_public_sources(path: Path, publishers: Mapping[str, str | None]) -> dict[str, PublicSource]:
    """Read a file like `data/sources.yaml`. Raises ValueError for an invalid entry."""
    sources: dict[str, PublicSource] = {}
    for entry in read_yaml(path)["sources"]:
        source = _parse_public_source(entry, publishers)
        if source.name in sources:
            raise ValueError(f"{path}: two sources have the name {source.name}")
        sources[source.name] = source
    return sources


def _parse_public_source(entry: dict[str, Any], publishers: Mapping[str, str | None]) -> PublicSource:
    data = dict(entry)
    try:
        if "theirs" in data:
            data["category"] = publishers[data.pop("theirs")]
        refresh = parse_refresh_interval(str(data.pop("refresh"))) if "refresh" in data else None
        source = PublicSource(**data | {"default_for": tuple(data.get("default_for", ()))}, refresh=refresh)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a public source: {entry!r}: {error}") from error
    if source.category is None:
        raise ValueError(f"{source.name} has a category of its publisher that has no counterpart")
    return source


def parse_refresh_interval(text: str) -> float:
    """Parse a duration into seconds. Raises ValueError.

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
    """Return the essential names as a list of exceptions from all categories that can be blocked."""
    return Source("hedgerow/essential", ALL_CATEGORIES, _ESSENTIAL, format="plain")


@functools.cache
def essential_hosts() -> frozenset[str]:
    """Return the essential names; each stands for its subdomains too."""
    return _read_host_file(_ESSENTIAL)


@functools.cache
def popular_hosts() -> frozenset[str]:
    """Return well-known names that hardly any list has a reason to block, to notice a list gone wrong."""
    return _read_host_file(_POPULAR)


def _read_host_file(path: Path) -> frozenset[str]:
    rules = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(host for host in map(parse_host, filter(None, rules)) if host is not None)
