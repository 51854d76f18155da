"""An organisation of sites in one store: versions of its base policy and of its groups' policies, and what each site reports.

The versions are kept beside those of the sites, under names that no site can have: `@` for the organisation, and `@GROUP`. A site reads
those of the levels above it, and only the owner of the store writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import select

from hedgerow.codec import decode, encode
from hedgerow.journal.policy_history import PolicyVersion, PolicyVersions
from hedgerow.journal.store import Store
from hedgerow.journal.tables import site_groups, site_status

ORGANISATION = "@"
"""The name under which versions of the organisation's policy are kept; a group's name follows it for those of a group."""
UP_S = 90.0
"""Seconds without a report after which a node counts as silent: it reports every 30 seconds."""
_FORGOTTEN_AFTER_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class SiteState:
    """Report of a node about its site. `versions` are those in force by level, `problems` are plain sentences without names.

    `coverage` is the state of the lists by category, `list_age_hours` the age of the oldest list in force.
    """

    software: str
    policy_hash: str
    versions: dict[str, int]
    list_age_hours: int | None
    coverage: dict[str, str]
    seats: int
    seats_in_use: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """The last report of a node, at `at` by its own clock. `state` is None for a site that has not reported yet, or in another form."""

    site: str
    group: str
    node: str
    at: float
    state: SiteState | None


class OrganisationStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_level(self, name: str) -> PolicyVersions:
        """Return the versions of a level: those of `@`, of `@GROUP` or of a site."""
        return PolicyVersions(replace(self._store, site=name))

    def levels(self) -> Mapping[str, PolicyVersion]:
        """Return the versions that are to be in force above this site, by level."""
        group = self._store.scalar(select(site_groups.c.group_name).where(self._store.own(site_groups)))
        names = {"organisation": ORGANISATION} | ({"group": ORGANISATION + group} if group else {})
        newest = {level: self.of_level(name).newest(self._store.site) for level, name in names.items()}
        return {level: version for level, version in newest.items() if version is not None}

    def assign(self, site: str, group: str) -> None:
        """Put a site into a group, and into no other; into none for an empty name. Needs the store's owner."""
        kept = replace(self._store, site=site)
        if group:
            kept.execute(kept.upsert(site_groups, lambda new: {"group_name": new.group_name}).values(group_name=group))
        else:
            kept.execute(kept.delete(site_groups))

    def groups(self) -> dict[str, str]:
        """Return the groups of the sites that have one."""
        return {row.site: row.group_name for row in self._store.rows(select(site_groups))}

    def report(self, node: str, at: float, state: SiteState) -> None:
        """Replace a node's report, and forget nodes that have not reported for a month."""
        values = {"at": at, "state": encode(state).decode()}
        statement = self._store.upsert(site_status, lambda new: {"at": new.at, "state": new.state})
        with self._store.begin() as connection:
            connection.execute(statement.values(node=node, **values))
            connection.execute(self._store.delete(site_status).where(site_status.c.at < at - _FORGOTTEN_AFTER_S))

    def nodes(self, known: Iterable[str] = ()) -> tuple[NodeRow, ...]:
        """Return the last reports of all nodes that this role may see, and an empty one for each of the `known` sites without any."""
        groups = self.groups()
        rows = [
            NodeRow(row.site, groups.get(row.site, ""), row.node, row.at, _state(row.state))
            for row in self._store.rows(select(site_status).order_by(site_status.c.site, site_status.c.node))
        ]
        silent = sorted({*known, *groups} - {row.site for row in rows})
        return (*rows, *(NodeRow(site, groups.get(site, ""), "", 0.0, None) for site in silent))


def _state(text: str) -> SiteState | None:
    try:
        return decode(SiteState, text.encode())
    except ValueError:
        return None
