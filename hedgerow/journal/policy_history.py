"""The history of policy changes made in the web pages: the files before and after each change, so that it can be shown and undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import policy_changes

MAX_CHANGES = 500
"""Changes that are kept. The oldest are deleted first."""

_C = policy_changes.c


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One change. `before` and `after` hold the whole texts of the changed files by name; `undone_at` is None while it is in force."""

    id: int
    at: float
    actor: str
    summary: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    undone_at: float | None = None


class PolicyHistory:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self, at: float, actor: str, summary: str, before: Mapping[str, str], after: Mapping[str, str], undoes: int | None = None
    ) -> PolicyChange:
        """Record a change. `undoes` is the id of the earlier change that it undoes."""
        row = {"at": at, "actor": actor, "summary": summary, "before": json.dumps(dict(before)), "after": json.dumps(dict(after))}
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

    def latest(self, limit: int = 50) -> tuple[PolicyChange, ...]:
        """Return the latest changes, the newest first."""
        return tuple(_change(row) for row in self._store.rows(self._store.select(policy_changes).order_by(_C.id.desc()).limit(limit)))

    def _delete_old(self, connection: Connection) -> None:
        own = self._store.own(policy_changes)
        oldest = connection.scalar(select(_C.id).where(own).order_by(_C.id.desc()).offset(MAX_CHANGES).limit(1))
        if oldest is not None:
            connection.execute(self._store.delete(policy_changes).where(_C.id <= oldest))


def _change(row: Row[Any]) -> PolicyChange:
    return PolicyChange(**{**row._mapping, "before": json.loads(row.before), "after": json.loads(row.after)})
