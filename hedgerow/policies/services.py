"""Services that people name as one thing (TikTok, Roblox), and the domains and URLs that they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hedgerow.policies.data import names_in, read_data


@dataclass(frozen=True, slots=True)
class Service:
    """`domains` cover the names beneath them; `urls` are `host/path` patterns of a service that is only part of a site.

    `shared` are names that it needs and others need too: allowed with the service, never blocked with it.
    `part_of` names the service whose domains may cover its own. `yields` are those of its `domains` that others need too: blocked with
    it, but given up to a service that needs them (has them in `shared`) and is allowed by as near a scope. `note`: what is good to know.
    """

    id: str
    group: str
    title: str
    domains: tuple[str, ...]
    urls: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    part_of: str | None = None
    yields: tuple[str, ...] = ()
    note: str = ""


class Services:
    """All services, by id."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.by_id = {service.id: service for service in services}

    def needed_by(self, id: str) -> dict[str, tuple[str, ...]]:
        """The other services that need some of a service's own names, and which of them: what they lack while it is blocked."""
        own = self.by_id[id].domains
        needs = {other.id: tuple(name for name in other.shared if name in own) for other in self.by_id.values() if other.id != id}
        return {other: names for other, names in needs.items() if names}

    @staticmethod
    @cache
    def load() -> Services:
        """Those that come with Hedgerow: one file a group."""
        return Services(
            _service(str(id), group, entry)
            for group in names_in("services")
            for id, entry in (read_data(f"services/{group}.yaml") or {}).items()
        )


def _service(id: str, group: str, entry: dict[str, object]) -> Service:
    def names(key: str) -> tuple[str, ...]:
        value = entry.get(key) or []
        assert isinstance(value, list), (id, key)
        return tuple(str(name) for name in value)

    part_of = entry.get("part_of")
    return Service(
        *(id, group, str(entry["title"]), names("domains"), names("urls"), names("shared"), str(part_of) if part_of else None),
        yields=names("yields"),
        note=str(entry.get("note") or ""),
    )
