"""Guides to the controls that services, consoles and systems have themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.policies.host_facts import Services

_FILE = Path(__file__).with_name("guides.yaml")


class ControlKind(StrEnum):
    """A matter that a service lets parents decide, or see."""

    TIME = "time"
    CONTACTS = "contacts"
    CONTENT = "content"
    PURCHASES = "purchases"
    LOCATION = "location"
    ACTIVITY = "activity"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideLine:
    """A control, or a way to block and report. The fields are those of `guides.yaml`."""

    title: str
    url: str
    checked: date
    name: str = ""
    path: str = ""
    kinds: tuple[ControlKind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """The guide of a service, a console or a system."""

    id: str
    title: str
    controls: tuple[GuideLine, ...]
    safety: tuple[GuideLine, ...]


@cache
def load_guides() -> Mapping[str, Guide]:
    """Return the guides by their ids, in the order of the file."""
    services = Services.load().by_id
    return {
        id: Guide(
            id=id,
            title=row.get("title") or services[id].title,
            controls=_lines(row.get("controls", ())),
            safety=_lines(row.get("safety", ())),
        )
        for id, row in read_yaml(_FILE).items()
    }


def _lines(rows: Any) -> tuple[GuideLine, ...]:
    return tuple(
        GuideLine(
            **row
            | {
                "checked": date.fromisoformat(str(row["checked"])),
                "kinds": tuple(ControlKind(kind) for kind in row.get("kinds", ())),
            }
        )
        for row in rows
    )
