from __future__ import annotations

import pytest

from hedgerow.app.control.snapshots.budgets import FRESH_S, BudgetTracker
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.retention import forget_decisions
from hedgerow.journal.store import Store
from hedgerow.journal.usage import MAX_USAGE_HOURS, UsageStore
from hedgerow.policies.model import DeviceId, Session
from hedgerow.policies.time_model import ActiveMinute, Bonus
from hedgerow.policies.times.budget import minutes_between

NOW = 1_795_521_600.0
MINUTE = int(NOW // 60)
MIA = ("person:mia", "")


class _Clock:
    def __init__(self) -> None:
        self.wall, self.steady = NOW, 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def store(journal: Store) -> UsageStore:
    return UsageStore(journal, clock=lambda: NOW)


def test_a_minute_reported_twice_counts_once(store: UsageStore) -> None:
    reported = [ActiveMinute(MINUTE + n, *MIA) for n in (0, 1, 59, 60, 0)]
    store.add(reported)
    store.add(reported[:2])
    store.add([])
    marks = store.marks(NOW - 60)[MIA]
    assert minutes_between(marks, NOW, NOW + 7200) == [MINUTE, MINUTE + 1, MINUTE + 59, MINUTE + 60]


def test_old_minutes_are_pruned(store: UsageStore) -> None:
    store.add([ActiveMinute(MINUTE - MAX_USAGE_HOURS * 60 - 120, *MIA), ActiveMinute(MINUTE, *MIA)])
    store.prune()
    assert list(store.marks(0.0)[MIA]) == [int(NOW // 3600)]


def test_bonus_minutes_are_stored(store: UsageStore) -> None:
    bonus = Bonus("b", "person:mia", "", 15, "ana", NOW)
    store.give(bonus)
    assert store.bonuses(NOW) == (bonus,)
    assert store.bonuses(NOW + 1) == ()


def test_a_session_ends_the_one_before_it(store: UsageStore) -> None:
    first, second = (
        Session(id, DeviceId("seat-1"), "ana", NOW + n, None, None, "seat-adult") for n, id in enumerate("ab")
    )
    store.start_session(first)
    store.start_session(second)
    assert [each.id for each in store.sessions(NOW + 5)] == ["b"]
    store.end_session(DeviceId("seat-1"))
    assert store.sessions(NOW + 5) == ()
    with pytest.raises(NoSuchEntry, match="there is no session at seat-1"):
        store.end_session(DeviceId("seat-1"))


def test_minutes_survive_a_restart(store: UsageStore) -> None:
    clock = _Clock()
    keeper = BudgetTracker(store, clock=lambda: clock.wall, steady=lambda: clock.steady)
    assert keeper.record([ActiveMinute(MINUTE, *MIA)])
    assert not keeper.record([ActiveMinute(MINUTE, *MIA)])
    keeper.save()
    again = BudgetTracker(store, clock=lambda: clock.wall, steady=lambda: clock.steady)
    assert not again.record([ActiveMinute(MINUTE, *MIA)])
    assert again.record([ActiveMinute(MINUTE + 1, *MIA)])


def test_setting_the_clock_back_gives_no_minute_back(store: UsageStore) -> None:
    clock = _Clock()
    keeper = BudgetTracker(store, clock=lambda: clock.wall, steady=lambda: clock.steady)
    for _ in range(30):
        assert keeper.record([ActiveMinute(int(clock.wall // 60), *MIA)])
        clock.pass_by(60)
    clock.wall -= 1800
    for _ in range(30):
        reported = [ActiveMinute(int(clock.wall // 60), *MIA)]
        keeper.record(reported)
        keeper.record(reported)
        clock.pass_by(60)
    keeper.save()
    marks = store.marks(NOW - 86400)[MIA]
    assert len(minutes_between(marks, NOW - 86400, NOW + 86400)) == 60
    assert FRESH_S < 1800


def test_forgetting_nothing_deletes_nothing(journal: Store) -> None:
    assert forget_decisions(journal, {"mia": 7}, {"guest": 0}, NOW) == 0


def _seated(store: UsageStore, seat: str, ends: float | None, id: str = "a") -> None:
    store.start_session(Session(id, DeviceId(seat), "ana", NOW, ends, None, "seat-adult"))


def test_extending_adds_to_the_end_of_a_session(store: UsageStore) -> None:
    _seated(store, "seat-1", NOW + 3540)
    store.extend_session(DeviceId("seat-1"), 1800)
    assert [each.ends for each in store.sessions(NOW)] == [NOW + 5340]
    store.extend_session(DeviceId("seat-1"), -600)
    assert [each.ends for each in store.sessions(NOW)] == [NOW + 4740]
    _seated(store, "seat-2", None, "b")
    with pytest.raises(NoSuchEntry, match="no session with an end at seat-2"):
        store.extend_session(DeviceId("seat-2"), 60)


def test_a_guest_moves_to_a_free_seat_only(store: UsageStore) -> None:
    _seated(store, "seat-1", NOW + 60)
    _seated(store, "seat-2", NOW + 60, "b")
    with pytest.raises(NoSuchEntry, match="there is a session at seat-2"):
        store.move_session(DeviceId("seat-1"), DeviceId("seat-2"))
    store.move_session(DeviceId("seat-1"), DeviceId("seat-3"))
    assert {each.device: each.id for each in store.sessions(NOW)} == {"seat-2": "b", "seat-3": "a"}


def test_the_end_of_a_session_is_undone_unless_somebody_else_sits_there(store: UsageStore) -> None:
    for taken in (False, True):
        _seated(store, "seat-1", NOW + 60, f"first {taken}")
        store.end_session(DeviceId("seat-1"))
        if taken:
            _seated(store, "seat-1", NOW + 60, "second")
            with pytest.raises(NoSuchEntry):
                store.reopen_session(f"first {taken}", NOW + 60)
        else:
            assert store.reopen_session(f"first {taken}", NOW + 60) == "seat-1"
            assert [(each.id, each.ends) for each in store.sessions(NOW)] == [(f"first {taken}", NOW + 60)]
