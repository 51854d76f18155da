"""Access codes are used once, expire, and their digits are not stored."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import select

from hedgerow.journal.access_store import AccessCode, CodeStore, NoSuchEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import codes


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_life_of_an_access_code(journal: Store) -> None:
    clock, engine = Clock(), journal
    store = CodeStore(engine, clock=clock)
    first = AccessCode("a", "ana", 1000.0, 1900.0, person="mia", subject="roblox", how_long="hour")
    second = AccessCode("b", "ana", 1000.0, 2900.0, device="tablet", minutes=15)
    store.add(first, "481920")
    store.add(second, "000017")
    with engine.connect() as connection:
        kept = [str(value) for row in connection.execute(select(codes)) for value in row]
    assert not any("481920" in value or "000017" in value for value in kept)
    assert store.open() == (first, second)
    assert (store.match("481920"), store.match("000017"), store.match("17"), store.match("")) == (
        (first,),
        (second,),
        (),
        (),
    )

    store.use("b")
    assert store.match("000017") == ()
    with pytest.raises(NoSuchEntry):
        store.use("b")

    clock.now = 1900.0
    assert store.open() == ()
    with pytest.raises(NoSuchEntry):
        store.use("a")
    clock.now = 1900.0 + 86401
    store.prune()
    with engine.connect() as connection:
        assert [row.id for row in connection.execute(select(codes))] == ["b"]
