"""Forgets decisions earlier where the policy says so: of a person, or of devices under a profile that are nobody's."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Engine, select

from hedgerow.journal.tables import decisions

_DAY = 86400.0
_CHUNK = 5000  # rows a transaction, so that forgetting never keeps the recorder waiting


def forget_decisions(engine: Engine, people: Mapping[str, int], profiles: Mapping[str, int], now: float) -> int:
    """Deletes the decisions of `people` (days by name) that are older than their days, and those of nobody's devices by profile.

    Returns how many. Waits for the disk: call it from a thread.
    """
    column = decisions.c
    old = [(column.person == name) & (column.at < now - days * _DAY) for name, days in people.items()]
    old += [column.person.is_(None) & (column.profile == name) & (column.at < now - days * _DAY) for name, days in profiles.items()]
    return sum(_forget(engine, condition) for condition in old)


def _forget(engine: Engine, condition: ColumnElement[bool]) -> int:
    deleted = 0
    while True:
        with engine.begin() as connection:
            chunk = select(decisions.c.id).where(condition).limit(_CHUNK)
            gone = connection.execute(decisions.delete().where(decisions.c.id.in_(chunk))).rowcount
        deleted += gone
        if gone < _CHUNK:
            return deleted
