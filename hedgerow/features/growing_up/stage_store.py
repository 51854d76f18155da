"""The stages of people, in memory and in the journal."""

from __future__ import annotations

import threading
from dataclasses import asdict, fields

from sqlalchemy import Table

from hedgerow.features.growing_up.legal_stages import LegalStage
from hedgerow.features.growing_up.stages import GrowthStage
from hedgerow.journal.store import Store
from hedgerow.seen_time import is_worth_saving, merged


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
        found = {row.person: self._kind(**{name: getattr(row, name) for name in names}) for row in rows}
        with self.lock:
            self.stages |= {name: merged(self.stages.get(name), stage) for name, stage in found.items()}
            self._saved = found
            self.is_read = True

    def save(self) -> None:
        """Write what has changed. What passes is written once an hour."""
        with self._saving:
            with self.lock:
                changed: list[Stage] = [
                    each for name, each in self.stages.items() if is_worth_saving(self._saved.get(name), each)
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
