"""The stages of people, in memory and in the journal."""

from __future__ import annotations

import threading
from dataclasses import asdict, fields, replace

from sqlalchemy import Table

from hedgerow.features.growing_up.clock_watch import HOUR_S
from hedgerow.features.growing_up.legal_stages import LegalStage
from hedgerow.features.growing_up.stages import GrowthStage
from hedgerow.journal.store import Store

_SAVED_EACH_S = HOUR_S  # how much of a time that passes is lost with the power, at most


class StageStore[Stage: (GrowthStage, LegalStage)]:
    """The stages of one kind by person. Change `stages` while holding `lock`. `read` and `save` wait for the disk."""

    def __init__(self, store: Store, table: Table, kind: type[Stage], lock: threading.RLock) -> None:
        self.lock = lock
        self.stages: dict[str, Stage] = {}
        self.is_read = False
        self._store, self._table = store, table
        self._kind: type[Stage] = kind
        self._saved: dict[str, Stage] = {}
        self._saving = threading.RLock()

    @property
    def seen_at(self) -> float:
        """The latest instant at which something was seen coming, 0 for none."""
        return max((each.seen_at for each in self.stages.values()), default=0.0)

    def read(self) -> None:
        """Take over what the store has."""
        rows = self._store.rows(self._store.select(self._table))
        names = tuple(each.name for each in fields(self._kind))
        found = {row.person: self._kind(*(getattr(row, name) for name in names)) for row in rows}
        with self.lock:
            self.stages |= {name: _merged(self.stages.get(name), stage) for name, stage in found.items()}
            self._saved = found
            self.is_read = True

    def save(self) -> None:
        """Write what has changed. What passes is written once an hour."""
        with self._saving:
            with self.lock:
                changed: list[Stage] = [
                    each for name, each in self.stages.items() if _is_new(self._saved.get(name), each)
                ]
                gone: set[str] = self._saved.keys() - self.stages.keys()
            person = self._table.c.person
            with self._store.begin() as connection:
                for name in (*gone, *(each.person for each in changed)):
                    connection.execute(self._store.delete(self._table).where(person == name))
                for stage in changed:
                    connection.execute(self._store.insert(self._table).values(asdict(stage)))
            kept = {name: each for name, each in self._saved.items() if name not in gone}
            self._saved = kept | {each.person: each for each in changed}

    def replace(self, stage: Stage) -> Stage:
        """Put a stage in the place of the person's last one, and save it."""
        with self.lock:
            self.stages[stage.person] = stage
        self.save()
        return stage


def _merged[Stage: (GrowthStage, LegalStage)](mine: Stage | None, saved: Stage) -> Stage:
    """Return a stage from the store, with what has passed here since it was saved."""
    if mine is None or replace(mine, unseen=saved.unseen, seen_at=saved.seen_at) != saved:
        return saved
    return replace(saved, unseen=min(mine.unseen, saved.unseen), seen_at=mine.seen_at)


def _is_new[Stage: (GrowthStage, LegalStage)](saved: Stage | None, stage: Stage) -> bool:
    if saved is None or replace(stage, unseen=saved.unseen, seen_at=saved.seen_at) != saved:
        return True
    return abs(stage.seen_at - saved.seen_at) >= _SAVED_EACH_S
