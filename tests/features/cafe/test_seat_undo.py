"""Undo of an opening or of minutes at the counter: the seat is as before, and money goes back to where it came from."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from argon2 import PasswordHasher

from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.actions.orders import ExtendOrder, PaymentWay
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import PasswordHashes
from hedgerow.dashboards.words.languages import language
from hedgerow.features.cafe.cash import till
from hedgerow.features.cafe.counter import CounterService
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore, StaffRow, balance
from hedgerow.features.cafe.done_texts import done_text
from hedgerow.features.cafe.members import Members
from hedgerow.features.cafe.session_entries import last_step
from hedgerow.features.cafe.sessions import GuestOrder, SessionService
from hedgerow.features.cafe.shifts import session_histories, shift_report
from hedgerow.features.cafe.undoing import SeatUndo
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.tables import counter_entries, sessions
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.seats import Payment

POLICY = """
cafe: {currency: EUR, prices: {child: {30: 120, 60: 200}, adult: 300}, roles: {staff: {early_ends: 1}}}
seats: {seat-1: {ip: 127.0.0.6}, seat-2: {ip: 127.0.0.7}}
"""
ANA = "Ana"


class Cafe:
    """The counter of a café without staff, on a journal of its own."""

    def __init__(self, journal: Store) -> None:
        self.journal, self.store = journal, CounterStore(journal)
        passwords = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.snapshots: Any = SimpleNamespace(
            policy=parse_policy(POLICY.encode(), None),
            view=None,
            usage=UsageStore(journal),
            ledger=GrantStore(journal),
            reader=JournalReader(journal),
            put_in_force=lambda: asyncio.sleep(0),
        )
        accounts = Accounts(AccountStore(journal), time.time, passwords)
        self.counter = CounterService(self.snapshots, self.store, accounts)
        self.members = Members(journal, self.counter, lambda: "EUR", time.time)
        self.sessions = SessionService(self.snapshots, self.counter, self.members)
        self.undoing = SeatUndo(self.snapshots, self.counter, self.members)

    def open(self, pays: str = "before", minutes: int = 60, member: int | None = None, replaces: str = "") -> str:
        order = GuestOrder("child", minutes, pays=Payment(pays), member=member, replaces=replaces)
        return self.sessions.start_in_turn(self.snapshots.policy.devices["seat-1"], ANA, order).id

    def extend(self, minutes: int = 15, pays: PaymentWay | None = None) -> None:
        order = ExtendOrder(minutes=minutes, pays=pays)
        self.sessions.extend_in_turn(self.snapshots.policy.devices["seat-1"], order, ANA, None)

    def end(self) -> None:
        self.sessions.end_in_turn(self.snapshots.policy.devices["seat-1"], ANA, None)

    def join(self, amount: int) -> int:
        number = asyncio.run(self.members.add("Vera", actor=ANA)).number
        asyncio.run(self.members.deposit(number, amount, actor=ANA))
        return number

    def undo(self, session: str, entry: int | None = None, request: str = "") -> None:
        """Undo an entry, by default the last step of a session."""
        if entry is None:
            step = last_step(self.store.of_session(session))
            assert step is not None
            entry = step.id
        asyncio.run(self.undoing.undo(session, entry, actor=ANA, request=request))

    def pass_time(self, minutes: float) -> None:
        """Let everything be older."""
        ago, columns = minutes * 60, sessions.c
        values = {"starts": columns.starts - ago, "ends": columns.ends - ago}
        self.journal.execute(self.journal.update(sessions).values(values))
        self.journal.execute(self.journal.update(counter_entries).values({"at": counter_entries.c.at - ago}))

    def till(self) -> int:
        return till(self.store, self.snapshots.policy, time.time()).expected

    def owed(self, session: str) -> int:
        return balance(self.store.of_session(session))

    def balance(self) -> int:
        return self.members.all()[0].balance

    def left(self) -> list[int]:
        """Return the minutes that the open sessions have left."""
        now = time.time()
        return [round(((each.ends or now) - now) / 60) for each in self.snapshots.usage.sessions(now)]


@pytest.fixture
def cafe(journal: Store) -> Cafe:
    return Cafe(journal)


def test_a_wrong_opening_that_was_paid_in_cash_is_as_if_it_had_not_been(cafe: Cafe) -> None:
    session = cafe.open()
    assert cafe.till() == 200
    cafe.undo(session)
    assert (cafe.till(), cafe.left(), cafe.owed(session)) == (0, [], 0)
    entry = cafe.store.of_session(session)[-1]
    assert (entry.action, entry.actor, entry.note) == (CounterAction.UNDO, ANA, "open")
    assert (entry.minutes, entry.due, entry.taken) == (60, -200, -200)
    report = shift_report(cafe.store.entries(0.0, 9e9), lambda _kind: True)
    (totals,) = report.sessions
    assert (totals.count, totals.minutes, totals.value, report.takings) == (0, 0, 0, {"EUR": 0})
    assert (report.undone, report.adult_sessions, report.early_ends) == (1, 1, 0)
    (history,) = session_histories(cafe.store.of_session(session))
    assert (history.lines, history.unused, history.paid, history.ended_by) == ([], 0, 0, ANA)
    now = time.time()
    assert cafe.store.ended_by_themselves(now - 600, now + 1) == {}
    assert done_text([entry], language("en")) == "Undone: seat-1 is as it was before. €2.00: given back in cash."


@pytest.mark.parametrize(("pays", "before", "with_more"), [("before", 200, 250), ("after", 0, 0)])
def test_minutes_that_were_added_by_mistake(cafe: Cafe, pays: str, before: int, with_more: int) -> None:
    session = cafe.open(pays)
    cafe.extend(15)
    assert (cafe.till(), cafe.left()) == (with_more, [75])
    cafe.undo(session)
    assert (cafe.till(), cafe.left()) == (before, [60])
    assert cafe.owed(session) == 200 - before
    cafe.extend(30)
    assert cafe.owed(session) + cafe.till() == 300, "and the next minutes cost what they cost without the undone ones"
    (history,) = session_histories(cafe.store.of_session(session))
    assert [(each.action, each.minutes) for each in history.lines] == [("open", 60), ("extend", 30)]
    assert history.minutes == 90


def test_what_a_balance_has_paid_goes_back_to_it(cafe: Cafe) -> None:
    member = cafe.join(500)
    session = cafe.open("after", member=member)
    cafe.extend()
    assert (cafe.balance(), cafe.till()) == (250, 500)
    cafe.undo(session)
    assert (cafe.balance(), cafe.till(), cafe.owed(session)) == (300, 500, 0)
    entries = cafe.store.of_session(session)
    said = done_text([each for each in entries if each.at == entries[-1].at], language("en"))
    assert said == "Undone: the 15 minutes at seat-1 are taken back. €0.50: back to the balance."
    cafe.undo(session)
    assert (cafe.balance(), cafe.till(), cafe.owed(session), cafe.left()) == (500, 500, 0, [])


def test_money_that_no_balance_can_take_back_is_cash(cafe: Cafe) -> None:
    session = cafe.open("after", member=(member := cafe.join(200)))
    asyncio.run(cafe.members.remove(member, actor=ANA))
    cafe.undo(session)
    assert (cafe.till(), cafe.owed(session)) == (0, 0)


def test_minutes_for_cash_of_a_members_session_are_given_back_in_cash(cafe: Cafe) -> None:
    session = cafe.open("after", member=cafe.join(200))
    cafe.extend(15, PaymentWay.BEFORE)
    assert cafe.till() == 250
    cafe.undo(session)
    assert (cafe.till(), cafe.balance()) == (200, 0)


def test_a_guest_who_was_pushed_out_by_mistake_sits_there_again(cafe: Cafe) -> None:
    before = cafe.open(minutes=30)
    session = cafe.open(replaces=before)
    assert (cafe.till(), cafe.left()) == (320, [60])
    cafe.undo(session)
    assert (cafe.till(), cafe.left()) == (120, [30])
    assert [each.id for each in cafe.snapshots.usage.sessions(time.time())] == [before]


def test_an_undo_is_carried_out_once(cafe: Cafe) -> None:
    session = cafe.open()
    step = cafe.store.of_session(session)[0].id
    for _ in range(2):
        cafe.undo(session, step, request="the form")
    assert cafe.till() == 0
    with pytest.raises(InvalidInput, match="changed since"):
        cafe.undo(session, step)
    assert cafe.till() == 0


@pytest.mark.parametrize("after", ["end", "reopened", "more"])
def test_what_has_changed_since_is_not_undone(cafe: Cafe, after: str) -> None:
    session = cafe.open()
    step = cafe.store.of_session(session)[0].id
    if after == "more":
        cafe.extend()
    else:
        cafe.end()
        if after == "reopened":
            asyncio.run(cafe.sessions.reopen_session(session, None, actor=ANA))
            cafe.undo(session, step)
            assert cafe.till() == 0
            return
    taken = cafe.till()
    with pytest.raises(InvalidInput, match="changed since, so nothing was undone"):
        cafe.undo(session, step)
    assert cafe.till() == taken


def test_after_ten_minutes_nothing_is_undone(cafe: Cafe) -> None:
    session = cafe.open()
    cafe.pass_time(11)
    with pytest.raises(InvalidInput, match="ten minutes only"):
        cafe.undo(session)
    assert cafe.left() == [49]


def test_minutes_that_the_guest_has_used_are_not_taken_back(cafe: Cafe) -> None:
    session = cafe.open(minutes=5)
    cafe.pass_time(4)
    cafe.extend(5)
    cafe.pass_time(3)
    with pytest.raises(InvalidInput, match="used these minutes already"):
        cafe.undo(session)


def test_who_may_end_no_more_sessions_undoes_no_more(cafe: Cafe) -> None:
    cafe.store.put_staff(StaffRow(ANA, "staff", time.time(), "a hash"))
    cafe.undo(cafe.open())
    session = cafe.open()
    with pytest.raises(InvalidInput, match="may end 1 sessions early"):
        cafe.undo(session)
    assert cafe.till() == 200
