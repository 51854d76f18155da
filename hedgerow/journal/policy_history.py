"""What was changed in the policy files through the pages: the files before and after, so that each change can be shown and undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Row, func, select

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.tables import policy_changes

MAX_CHANGES = 500
"""Changes that are remembered; the oldest go first."""

_C = policy_changes.c


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One change. `before` and `after` are the whole texts of the files that changed, by name; `undone_at` is None while it holds."""

    id: int
    at: float
    giver: str
    summary: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    undone_at: float | None = None


class PolicyHistory:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self, at: float, giver: str, summary: str, before: Mapping[str, str], after: Mapping[str, str], undoes: int | None = None
    ) -> PolicyChange:
        """Remembers a change that was made, and with `undoes` that an earlier one holds no longer."""
        row = {"at": at, "giver": giver, "summary": summary, "before": json.dumps(dict(before)), "after": json.dumps(dict(after))}
        with self._engine.begin() as connection:
            made = connection.execute(policy_changes.insert().values(row).returning(policy_changes)).one()
            if undoes is not None:
                connection.execute(policy_changes.update().where(_C.id == undoes).values(undone_at=at))
            _forget_old(connection)
        return _change(made)

    def forget(self, change_id: int, undoes: int | None = None) -> None:
        """Takes back an `add` whose change could not be written."""
        with self._engine.begin() as connection:
            connection.execute(policy_changes.delete().where(_C.id == change_id))
            if undoes is not None:
                connection.execute(policy_changes.update().where(_C.id == undoes).values(undone_at=None))

    def change(self, change_id: int) -> PolicyChange:
        """Raises `NoSuchEntry`."""
        with self._engine.connect() as connection:
            row = connection.execute(select(policy_changes).where(_C.id == change_id)).first()
        if row is None:
            raise NoSuchEntry(f"there is no change {change_id}")
        return _change(row)

    def latest(self, limit: int = 50) -> tuple[PolicyChange, ...]:
        """The latest first."""
        with self._engine.connect() as connection:
            return tuple(_change(row) for row in connection.execute(select(policy_changes).order_by(_C.id.desc()).limit(limit)))


def _forget_old(connection: Connection) -> None:
    newest = connection.scalar(select(func.max(_C.id))) or 0
    connection.execute(policy_changes.delete().where(_C.id <= newest - MAX_CHANGES))


def _change(row: Row[tuple[object, ...]]) -> PolicyChange:
    return PolicyChange(**{**row._mapping, "before": json.loads(row.before), "after": json.loads(row.after)})
