"""A clock that shows less than what has passed is not trusted at the start."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.settings import Endpoint, Settings, remove_memory_folder
from hedgerow.app.snapshot import Snapshot, StartClock
from hedgerow.journal.database import open_journal
from hedgerow.policies.model import Grant

NOW = time.time()


def test_a_clock_is_behind_until_it_shows_what_has_passed() -> None:
    shown = [0.0]
    clock = StartClock([NOW + 1000], now=lambda: shown[0], is_synchronised=lambda: False)
    assert clock.is_behind, "as in 1970"
    assert clock.at_least(0.0) == NOW + 1000
    shown[0] = NOW
    assert clock.is_behind
    shown[0] = NOW + 1001
    assert not clock.is_behind
    shown[0] = 0.0
    assert not clock.is_behind, "somebody has set it back"
    assert clock.at_least(5.0) == 5.0


def test_a_synchronised_clock_is_right_and_no_clock_is_earlier_than_the_program() -> None:
    assert not StartClock([NOW + 1000], now=lambda: NOW, is_synchronised=lambda: True).is_behind
    assert StartClock(now=lambda: 0.0, is_synchronised=lambda: False).is_behind
    assert not StartClock(now=lambda: NOW, is_synchronised=lambda: False).is_behind


@pytest.mark.parametrize("is_behind", [False, True])
def test_pauses_hold_and_grants_with_an_end_do_not_while_the_clock_is_behind(tmp_path: Path, is_behind: bool) -> None:
    now = time.time()  # as late as possible: the module may have been read many minutes before
    place = Endpoint("127.0.0.1", 0)
    settings = Settings(tmp_path, None, place, place, place)
    store = open_journal(settings.journal)

    async def publish() -> Snapshot:
        publisher = SnapshotPublisher(settings, store)
        publisher.clock = StartClock(
            [now + 5 if is_behind else 0.0], now=lambda: 0.0 if is_behind else now, is_synchronised=lambda: False
        )
        assert await publisher.lists.load_first_generation(publisher.policy, None)
        ledger = publisher.ledger
        for name, ends in (("open", None), ("timed", now + 600)):
            ledger.give(Grant(name, f"{name}.example", "ana", now - 5, ends, person="mia"))
        ledger.pause("ana", person="mia", ends=now + 600)
        ledger.pause("ana", person="tom", ends=now + 1)
        await publisher.publish()
        return Snapshot.in_force(tmp_path)

    try:
        snapshot = asyncio.run(publish())
    finally:
        store.dispose()
        remove_memory_folder(tmp_path)
    assert [grant.id for grant in snapshot.grants] == (["open"] if is_behind else ["open", "timed"])
    assert "mia" in [pause.person for pause in snapshot.pauses]
    if is_behind:
        assert snapshot.published >= now + 5, "so that the next start knows it too"
        assert [pause.person for pause in snapshot.pauses] == ["mia"], (
            "not one that had ended when the time was last known"
        )
