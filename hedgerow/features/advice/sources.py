"""The published advice that the pages follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from hedgerow.blocklists.yaml_files import read_yaml

_FILE = Path(__file__).with_name("sources.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceSource:
    """A page of an organisation. The fields are those of `sources.yaml`."""

    name: str
    title: str
    url: str
    checked: date


@cache
def load_sources() -> Mapping[str, tuple[AdviceSource, ...]]:
    """Return the sources of each page, by its name."""
    return {
        page: tuple(AdviceSource(**row | {"checked": date.fromisoformat(str(row["checked"]))}) for row in rows)
        for page, rows in read_yaml(_FILE).items()
    }
