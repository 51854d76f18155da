"""The history of a policy: changes made on the pages, and versions that the nodes of a site share.

A change holds its files before and after, so that it can be shown and undone. A version holds the whole policy.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select
from sqlalchemy.exc import IntegrityError

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import policy_changes, policy_versions

MAX_CHANGES = 500
"""Changes that are kept, and versions. The oldest are deleted first, but no version that is in force at a site."""

MAIN_FILE = "hedgerow.yaml"
"""The name in a version of the main file, whatever a node calls it."""

_C, _V = policy_changes.c, policy_versions.c


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One change.

    `before` and `after` hold the whole texts of the changed files by name; `undone_at` is None while it is in force.
    """

    id: int
    at: float
    actor: str
    summary: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    undone_at: float | None = None


class PolicyHistory:
    """The store of changes of the policy. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self,
        at: float,
        actor: str,
        summary: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
        undoes: int | None = None,
    ) -> PolicyChange:
        """Record a change. `undoes` is the id of the earlier change that it undoes."""
        row = {
            "at": at,
            "actor": actor,
            "summary": summary,
            "before": json.dumps(dict(before)),
            "after": json.dumps(dict(after)),
        }
        with self._store.begin() as connection:
            key = connection.execute(self._store.insert(policy_changes).values(row)).inserted_primary_key
            assert key is not None
            if undoes is not None:
                connection.execute(self._store.update(policy_changes).where(_C.id == undoes).values(undone_at=at))
            self._delete_old(connection)
        return PolicyChange(int(key[0]), at, actor, summary, before, after)

    def forget(self, change_id: int, undoes: int | None = None) -> None:
        """Revert an `add` whose files could not be written."""
        with self._store.begin() as connection:
            connection.execute(self._store.delete(policy_changes).where(_C.id == change_id))
            if undoes is not None:
                connection.execute(self._store.update(policy_changes).where(_C.id == undoes).values(undone_at=None))

    def change(self, change_id: int) -> PolicyChange:
        """Return the change with this id. Raises `NoSuchEntry`."""
        rows = self._store.rows(self._store.select(policy_changes).where(_C.id == change_id))
        if not rows:
            raise NoSuchEntry(f"there is no change {change_id}")
        return _change(rows[0])

    def since(self, change_id: int) -> tuple[PolicyChange, ...]:
        """Return the changes after this one, the oldest first."""
        return tuple(
            _change(row)
            for row in self._store.rows(self._store.select(policy_changes).where(_C.id > change_id).order_by(_C.id))
        )

    def latest(self, limit: int = 50) -> tuple[PolicyChange, ...]:
        """Return the latest changes, the newest first."""
        return tuple(
            _change(row)
            for row in self._store.rows(self._store.select(policy_changes).order_by(_C.id.desc()).limit(limit))
        )

    def _delete_old(self, connection: Connection) -> None:
        own = self._store.own(policy_changes)
        oldest = connection.scalar(select(_C.id).where(own).order_by(_C.id.desc()).offset(MAX_CHANGES).limit(1))
        if oldest is not None:
            connection.execute(self._store.delete(policy_changes).where(_C.id <= oldest))


def _change(row: Row[Any]) -> PolicyChange:
    return PolicyChange(**{**row._mapping, "before": json.loads(row.before), "after": json.loads(row.after)})


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """The whole policy of a site as one of its nodes has shared it.

    `files` are texts by name; `follows` is the version before, or 0.

    A version of a level above sites may be for some of them only, `sites`.
    """

    id: int
    at: float
    actor: str
    summary: str
    node: str
    follows: int
    files: Mapping[str, str]
    sites: tuple[str, ...] = ()


def lines_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the lines in which the files of two versions differ, as in `diff -u`."""
    lines: list[str] = []
    for name in sorted({*before, *after}):
        old, new = (each.get(name, "").splitlines() for each in (before, after))
        lines += difflib.unified_diff(old, new, name, name, lineterm="")
    return tuple(lines)


class VersionConflict(Exception):
    """A conflict: another node has shared a version in the meantime."""


class PolicyVersions:
    """The versions of a policy that several nodes share. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def site(self) -> str:
        return self._store.site

    @property
    def may_add(self) -> bool:
        return self._store.rights.may_manage

    @property
    def is_of_manager(self) -> bool:
        """Return True if the store's role is that of a manager of this site, and not of the organisation."""
        return self._store.rights.site is not None and self._store.rights.may_manage

    def add(self, version: PolicyVersion) -> int:
        """Add a version, whose `id` is ignored.

        Returns its id. Raises `VersionConflict` if another one follows the same version.
        """
        row = {
            **asdict(version),
            "files": json.dumps(dict(version.files)),
            "sites": json.dumps(version.sites) if version.sites else None,
        }
        del row["id"]
        try:
            with self._store.begin() as connection:
                key = connection.execute(self._store.insert(policy_versions).values(row)).inserted_primary_key
                assert key is not None
                if old := self._superseded(connection):
                    connection.execute(self._store.delete(policy_versions).where(_V.id.in_(old)))
        except IntegrityError:
            raise VersionConflict from None
        return int(key[0])

    def newest(self, site: str | None = None) -> PolicyVersion | None:
        """Return the version that is to be in force, at one site of those below this level or at all; None if there is
        none.
        """
        if site is None:
            return next(iter(self.latest(1)), None)
        rows = self._store.rows(
            self._store.select(policy_versions).where(_is_meant_for(site)).order_by(_V.id.desc()).limit(1)
        )
        return _policy_version(rows[0]) if rows else None

    def in_force(self, sites: Collection[str] = ()) -> tuple[PolicyVersion | None, ...]:
        """Return each version that is to be in force at one of these sites, or at any site below this level.

        None is not a version.
        """
        rows = self._store.rows(self._numbers())
        named: dict[str, int] = {}
        general = 0
        for row in rows:
            if row.sites is None:
                general = row.id
                break
            named = dict.fromkeys(json.loads(row.sites), row.id) | named
        wanted = {named.get(site, general) for site in sites} or {general, *named.values()}
        return tuple(self.version(number) if number else None for number in sorted(wanted))

    def version(self, number: int) -> PolicyVersion:
        """Return a version by its id. Raises `NoSuchEntry`."""
        rows = self._store.rows(self._store.select(policy_versions).where(_V.id == number))
        if not rows:
            raise NoSuchEntry(f"there is no version {number}")
        return _policy_version(rows[0])

    def latest(self, limit: int = 50) -> tuple[PolicyVersion, ...]:
        """Return the latest versions, the newest first."""
        rows = self._store.rows(self._store.select(policy_versions).order_by(_V.id.desc()).limit(limit))
        return tuple(_policy_version(row) for row in rows)

    def _superseded(self, connection: Connection) -> list[int]:
        """Return the ids of versions that are in force nowhere, beyond those that are kept."""
        numbers = self._numbers()
        if connection.execute(numbers.offset(MAX_CHANGES).limit(1)).first() is None:
            return []
        old: list[int] = []
        named: set[str] = set()
        has_general = False
        for place, row in enumerate(connection.execute(numbers)):
            sites = set(json.loads(row.sites or "[]"))
            if place >= MAX_CHANGES and (has_general or (sites and sites <= named)):
                old.append(row.id)
            has_general |= not sites
            named |= sites
        return old

    def _numbers(self) -> Select[Any]:
        return select(_V.id, _V.sites).where(self._store.own(policy_versions)).order_by(_V.id.desc())


def newest_of_levels(store: Store, *levels: str | ColumnElement[str]) -> dict[str, PolicyVersion]:
    """Return the versions of some levels that are to be in force at the store's site, by the names under which they are
    kept.

    One query, since all sites ask at the same moment.
    """
    ids = select(func.max(_V.id)).where(_V.site.in_(levels), _is_meant_for(store.site)).group_by(_V.site)
    return {row.site: _policy_version(row) for row in store.rows(select(policy_versions).where(_V.id.in_(ids)))}


def _is_meant_for(site: str) -> ColumnElement[bool]:
    return _V.sites.is_(None) | _V.sites.contains(f'"{site}"', autoescape=True)


def _policy_version(row: Row[Any]) -> PolicyVersion:
    values = {name: value for name, value in row._mapping.items() if name != "site"}
    return PolicyVersion(**{**values, "files": json.loads(row.files), "sites": tuple(json.loads(row.sites or "[]"))})
