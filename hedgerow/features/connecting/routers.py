"""The common makes of router, and where each is told which DNS server the devices ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from hedgerow.blocklists.yaml_files import read_yaml

_FILE = Path(__file__).with_name("routers.yaml")


class RouterKind(StrEnum):
    """Use that a router makes of the address of a DNS server."""

    HANDS = "hands"  # tell all devices
    FORWARDS = "forwards"  # ask it itself, for all devices
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class Router:
    """A make of router. The fields are those of `routers.yaml`."""

    name: str
    kind: RouterKind
    open: str = ""
    is_app: bool = False
    path: tuple[str, ...] = ()
    field: str = ""
    clear: str = ""
    switch_off: str = ""
    value: str = "%(address)s"
    words: Mapping[str, Mapping[str, Any]] = field_of(default_factory=dict)
    source: str = ""

    @property
    def key(self) -> str:
        """The name for addresses.

        >>> Router("FRITZ!Box", RouterKind.HANDS).key
        'fritzbox'
        """
        return "".join(filter(str.isalnum, self.name.casefold()))

    def in_words_of(self, language: str) -> Router:
        """Return the router with the words that its menus have in a language, else in English."""
        words = self.words.get(language, {})
        return replace(self, path=tuple(words.get("path", self.path)), field=words.get("field", self.field))

    def typed(self, address: str) -> str:
        """Return what to type into the field.

        >>> Router("OpenWrt", RouterKind.HANDS, value="6,%(address)s").typed("192.168.1.2")
        '6,192.168.1.2'
        """
        return self.value % {"address": address}


@cache
def load_routers() -> tuple[Router, ...]:
    """Return the makes, in the order of the file."""
    return tuple(
        Router(**row | {"kind": RouterKind(row["kind"]), "path": tuple(row.get("path", ()))})
        for row in read_yaml(_FILE)
    )
