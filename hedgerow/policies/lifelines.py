"""Children's helplines and hotlines: what nothing may ever block, and what a block page shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hedgerow.policies.data import read_data

INTERNATIONAL = "int"


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A helpline. `country` is ISO 3166 alpha-2 in lower case, or `int` for all the world; `hosts` cover the names beneath them."""

    name: str
    country: str
    url: str
    hosts: tuple[str, ...]
    source: str = ""
    phone: str = ""
    chat: str = ""
    text: str = ""
    purpose: str = ""  # the file's `for`: children, everyone, abuse, suicide, …


class Lifelines:
    """All helplines, by host and by country."""

    def __init__(self, lifelines: Iterable[Lifeline]) -> None:
        self.all = tuple(lifelines)
        self.hosts = frozenset(host for lifeline in self.all for host in lifeline.hosts)

    @staticmethod
    @cache
    def load() -> Lifelines:
        """Those that come with Hedgerow."""
        return Lifelines(_lifeline(entry) for entry in read_data("lifelines.yaml"))

    def is_lifeline(self, host: str) -> bool:
        """Whether a canonical host is a helpline's or lies beneath one."""
        while host:
            if host in self.hosts:
                return True
            host = host.partition(".")[2]
        return False

    def for_country(self, country: str | None) -> tuple[Lifeline, ...]:
        """The helplines of a country, then the international ones; of each those for children first."""
        local = [lifeline for lifeline in self.all if country and lifeline.country == country.lower()]
        abroad = [lifeline for lifeline in self.all if lifeline.country == INTERNATIONAL]
        return tuple(lifeline for group in (local, abroad) for lifeline in sorted(group, key=lambda each: each.purpose != "children"))


def _lifeline(entry: dict[str, object]) -> Lifeline:
    hosts = entry["hosts"]
    assert isinstance(hosts, list)
    return Lifeline(
        name=str(entry["name"]),
        country=str(entry["country"]),
        url=str(entry["url"]),
        hosts=tuple(str(host) for host in hosts),
        source=str(entry.get("source") or ""),
        phone=str(entry.get("phone") or ""),
        chat=str(entry.get("chat") or ""),
        text=str(entry.get("text") or ""),
        purpose=str(entry.get("for") or ""),
    )
