"""Names that no list may block: connectivity checks, clocks, certificate status, security updates. The data is `data/essential.txt`."""

from __future__ import annotations

import functools
from pathlib import Path

from hedgerow.blocklists.categories import DATA
from hedgerow.blocklists.generation import EVERY
from hedgerow.blocklists.names import parse_host
from hedgerow.blocklists.sources import Source

ESSENTIAL_PROBLEM = "an essential name, which no list may block"
_ESSENTIAL = DATA / "essential.txt"
_POPULAR = DATA / "popular.txt"


def essential_source() -> Source:
    """The essential names as a list whose every name is an exception from all categories that are there to be blocked."""
    return Source("hedgerow/essential", EVERY, _ESSENTIAL, format="plain")


@functools.cache
def essential_hosts() -> frozenset[str]:
    """The essential names; each stands for what is below it too."""
    return _read(_ESSENTIAL)


@functools.cache
def popular_hosts() -> frozenset[str]:
    """Well-known names that hardly any list has a reason to hold, for noticing a list gone wrong."""
    return _read(_POPULAR)


def _read(path: Path) -> frozenset[str]:
    rules = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(host for host in map(parse_host, filter(None, rules)) if host is not None)
