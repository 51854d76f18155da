"""Money at the counter: what a session costs however it was put together, and what nobody has to notice by himself."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher

from hedgerow.app.doctor.findings import Health
from hedgerow.dashboards.accounts import Accounts, Principal
from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.actions.orders import ExtendOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import PasswordHashes
from hedgerow.features.cafe.cash import CashCount, Till, till
from hedgerow.features.cafe.checks import check_prices
from hedgerow.features.cafe.counter import CounterService
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore
from hedgerow.features.cafe.members import Members
from hedgerow.features.cafe.outages import ClockReading, OutageService
from hedgerow.features.cafe.refusals import TillChanged
from hedgerow.features.cafe.sessions import GuestOrder, SessionService
from hedgerow.features.cafe.shifts import debts_of, entries_csv, session_histories, shift_report
from hedgerow.features.cafe.staff import Staff
from hedgerow.features.cafe.till import CountOrder, TillService
from hedgerow.features.cafe.voucher_store import Voucher
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.tables import counter_entries, sessions
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.seats import Payment

PRICES = "{child: {30: 120, 60: 200}, adult: 300}"
POLICY = """
cafe: {{currency: EUR, prices: {prices}}}
seats: {{seat-1: {{ip: 127.0.0.6}}, seat-2: {{ip: 127.0.0.7}}}}
profiles: {{seat-teen: {{extends: seat-child}}}}
"""
SEAT = DeviceId("seat-1")
ANA = "Ana"
COUNTER = Principal("counter", frozenset(), "a session")


def policy_with(prices: str) -> Policy:
    return parse_policy(POLICY.format(prices=prices).encode(), None)


class Cafe:
    """The counter of a café without staff, on a journal of its own."""

    def __init__(self, journal: Store) -> None:
        self.journal, self.store = journal, CounterStore(journal)
        passwords = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        accounts = Accounts(AccountStore(journal), time.time, passwords)
        self.snapshots: Any = SimpleNamespace(
            policy=policy_with(PRICES),
            view=None,
            usage=UsageStore(journal),
            ledger=GrantStore(journal),
            reader=JournalReader(journal),
            put_in_force=lambda: asyncio.sleep(0),
        )
        self.counter = CounterService(self.snapshots, self.store, accounts)
        self.members = Members(journal, self.counter, lambda: "EUR", time.time)
        self.sessions = SessionService(self.snapshots, self.counter, self.members)
        self.staff = Staff(accounts, self.store, lambda: self.snapshots.policy)
        control = SimpleNamespace(device_at=lambda _address: None)
        core: Any = SimpleNamespace(control=control, clock=time.time, policy=self.snapshots.policy)
        self.till = TillService(core, self.counter, self.staff)

    def seat(self, name: str = SEAT) -> Any:
        return self.snapshots.policy.devices[name]

    def open(
        self, minutes: float | None, pays: str = "before", kind: str = "child", voucher: Voucher | None = None
    ) -> str:
        return self.sessions.start_in_turn(self.seat(), ANA, GuestOrder(kind, minutes, pays=Payment(pays)), voucher).id

    def extend(self, minutes: int) -> None:
        self.sessions.extend_in_turn(self.seat(), ExtendOrder(minutes=minutes), ANA, None)

    def end(self) -> None:
        self.sessions.end_in_turn(self.seat(), ANA, None)

    def pay(self, session: str) -> None:
        asyncio.run(self.members.pay(session, actor=ANA))

    def debts(self) -> dict[str, tuple[str, int]]:
        """Return what is unpaid by session: who opened it, and the amount."""
        return {each.session: (each.actor, each.amount) for each in debts_of(self.store.unpaid(), ())}

    def expected(self) -> Till:
        return till(self.store, self.snapshots.policy, time.time())

    def count(self, seen: Till, counted: int, left: int = 0, caller: Caller | None = None, pin: str = "") -> CashCount:
        order = CountOrder(counted=counted, left=left, expected=seen.expected, last=seen.last, pin=pin)
        return asyncio.run(self.till.count(order, caller or Caller(COUNTER, ANA)))

    def pass_time(self, minutes: float) -> None:
        """Let all sessions be older, or with negative minutes set the clock back."""
        columns = sessions.c
        values = {"starts": columns.starts - minutes * 60, "ends": columns.ends - minutes * 60}
        self.journal.execute(self.journal.update(sessions).values(values))

    def entries(self) -> tuple[CounterEntry, ...]:
        return self.store.entries(0.0, time.time() + 60)


@pytest.fixture
def cafe(journal: Store) -> Cafe:
    return Cafe(journal)


@pytest.mark.parametrize("parts", [(60,), (30, 30), (15, 15, 15, 15), (59, 1), (30, 15, 15)])
@pytest.mark.parametrize("pays", ["before", "after"])
def test_an_hour_costs_the_same_however_it_is_put_together(cafe: Cafe, parts: tuple[int, ...], pays: str) -> None:
    first, *more = parts
    cafe.open(first, pays)
    for minutes in more:
        cafe.extend(minutes)
    cafe.pass_time(59.9)
    cafe.end()
    assert sum(each.due for each in cafe.entries()) == 200
    assert sum(each.taken for each in cafe.entries()) == (200 if pays == "before" else 0)


def test_minutes_of_a_voucher_count_as_bought(cafe: Cafe) -> None:
    now = time.time()
    cafe.open(30, voucher=Voucher("child", 30, ANA, now, now + 86400, 120, True))
    cafe.extend(30)
    assert [(each.action, each.taken) for each in cafe.entries()] == [("redeem", 0), ("extend", 80)]


@pytest.mark.parametrize("after", ["{child: {30: 240, 60: 400}, adult: 300}", "{adult: 300}", "{child: 0, adult: 300}"])
@pytest.mark.parametrize("pays", ["before", "after"])
def test_a_session_keeps_the_prices_of_its_beginning(cafe: Cafe, after: str, pays: str) -> None:
    cafe.open(30, pays)
    cafe.snapshots.policy = policy_with(after)
    cafe.extend(30)
    cafe.pass_time(39.9)
    cafe.end()
    assert sum(each.due for each in cafe.entries()) == (200 if pays == "before" else 160)


def test_a_free_session_stays_free_when_its_kind_gets_a_price(cafe: Cafe) -> None:
    cafe.open(30, kind="teen")
    cafe.snapshots.policy = policy_with("{child: 200, teen: 500}")
    cafe.extend(30)
    assert sum(each.due for each in cafe.entries()) == 0


@pytest.mark.parametrize("minutes", [60, None])
def test_a_clock_that_is_set_back_loses_no_money(cafe: Cafe, minutes: float | None) -> None:
    """Neither is the guest owed more than was given, nor the café less than nothing."""
    cafe.open(minutes, "after")
    cafe.pass_time(-180)
    cafe.end()
    (history,) = session_histories(cafe.entries())
    assert history.owed == 0
    assert history.minutes == 0


def test_after_the_clock_is_set_back_no_more_minutes_are_unused_than_were_paid(cafe: Cafe) -> None:
    cafe.open(60)
    cafe.pass_time(-180)
    cafe.end()
    assert session_histories(cafe.entries())[0].unused == 60


def test_what_the_entries_of_older_versions_leave_out_costs_what_it_costs_now(cafe: Cafe) -> None:
    session = cafe.open(30)
    (entry,) = cafe.entries()
    assert entry.note == "before 30:120 60:200"
    cafe.journal.execute(cafe.journal.update(counter_entries).values(note="before"))
    cafe.extend(30)
    assert [each.due for each in cafe.store.of_session(session)] == [120, 80]


def test_what_is_unpaid_is_listed_until_it_is_paid(cafe: Cafe) -> None:
    first = cafe.open(60)
    cafe.end()
    second = cafe.open(30, "after")
    cafe.pass_time(30.1)  # it ends by itself
    third = cafe.open(30)
    assert cafe.debts() == {second: (ANA, 120)}, "the others were paid before"
    entries = cafe.entries()
    debts = debts_of(cafe.store.unpaid(), ())
    table = list(csv.DictReader(io.StringIO(entries_csv(entries, ZoneInfo("UTC"), debts))))
    assert [row["session"] for row in table if int(row["unpaid"])] == [second]
    report = shift_report(entries, lambda _kind: False, debts)
    assert sum(each.value for each in report.sessions) == report.takings["EUR"] + sum(each.amount for each in debts)
    assert shift_report(entries[-1:], lambda _kind: False, debts).unpaid == (), "the days of another session"
    cafe.pay(second)
    assert cafe.debts() == {}
    assert first != third


def test_what_was_paid_too_early_is_given_back(cafe: Cafe) -> None:
    session = cafe.open(60, "after")
    cafe.pay(session)
    cafe.pass_time(29.9)
    cafe.end()
    assert cafe.debts() == {session: (ANA, -80)}
    cafe.pay(session)
    assert cafe.debts() == {}
    assert sum(each.taken for each in cafe.entries()) == 120
    with pytest.raises(InvalidInput):
        cafe.pay(session)


def test_a_count_of_the_till(cafe: Cafe) -> None:
    cafe.open(60)
    cafe.end()
    seen = cafe.expected()
    assert (seen.taken, seen.left, seen.expected, seen.by) == (200, 0, 200, {ANA: 200})
    done = cafe.count(seen, counted=5150, left=5000)
    assert (done.actor, done.expected, done.counted, done.difference, done.left) == (ANA, 200, 5150, 4950, 5000)
    cafe.open(30)
    seen = cafe.expected()
    assert (seen.last, seen.taken, seen.left, seen.expected) == (done.id, 120, 5000, 5120)
    cafe.count(seen, counted=5100)
    report = shift_report(cafe.entries(), lambda _kind: False)
    assert [each.difference for each in report.counts] == [4950, -20]
    assert report.takings == {"EUR": 320}, "a count is no payment"
    table = list(csv.DictReader(io.StringIO(entries_csv(cafe.entries(), ZoneInfo("UTC")))))
    assert [row["note"] for row in table if row["action"] == "count"][-1] == "expected 5120, counted 5100, left 0"


def test_no_more_stays_in_the_till_than_was_counted(cafe: Cafe) -> None:
    cafe.open(60)
    with pytest.raises(InvalidInput, match="No more can stay"):
        cafe.count(cafe.expected(), counted=200, left=201)
    assert shift_report(cafe.entries(), lambda _kind: False).counts == ()


def test_what_a_guest_with_a_paid_voucher_pays_for_is_in_the_till(cafe: Cafe) -> None:
    now = time.time()
    session = cafe.open(30, voucher=Voucher("child", 30, ANA, now, now + 86400, 120, True))
    cafe.extend(30)
    first = cafe.entries()[0]
    cola = replace(first, action=CounterAction.ARTICLE, due=150, taken=0, minutes=0, currency="EUR", note="Cola", id=0)
    cafe.store.add(cola)
    cafe.pay(session)
    paid = cafe.entries()[-1]
    assert (paid.action, paid.currency) == (CounterAction.PAY, "EUR")
    assert cafe.expected().expected == sum(each.taken for each in cafe.entries())


def test_a_session_whose_beginning_was_pruned_has_no_balance(cafe: Cafe) -> None:
    session = cafe.open(60, "after")
    cafe.pay(session)
    with cafe.journal.begin() as connection:
        connection.execute(counter_entries.delete().where(counter_entries.c.action == "open"))
    assert cafe.debts() == {}
    with pytest.raises(InvalidInput):
        cafe.pay(session)


def test_a_count_is_taken_once_and_of_what_was_seen(cafe: Cafe) -> None:
    """A double tap counts once, and a page from before another count or payment counts nothing."""
    cafe.open(60)
    seen = cafe.expected()
    twice = [cafe.count(seen, counted=200, left=200, caller=Caller(COUNTER, ANA, "", "form 1")) for _ in range(2)]
    assert twice[0] == twice[1]
    with pytest.raises(TillChanged):
        cafe.count(seen, counted=200, caller=Caller(COUNTER, ANA, "", "form 2"))
    seen = cafe.expected()
    cafe.extend(30)
    with pytest.raises(TillChanged):
        cafe.count(seen, counted=200)
    assert len(shift_report(cafe.entries(), lambda _kind: False).counts) == 1


def test_whoever_is_on_duty_signs_the_count(cafe: Cafe) -> None:
    asyncio.run(cafe.staff.put(ANA, "staff", "2580"))
    asyncio.run(cafe.staff.put("Ben", "staff", "4711"))
    seen = cafe.expected()
    with pytest.raises(InvalidInput, match="on duty"):
        cafe.count(seen, counted=0, caller=Caller(COUNTER, "counter"))
    asyncio.run(cafe.staff.begin(COUNTER, ANA, "2580"))
    for pin in ("", "4711"):
        with pytest.raises(InvalidInput, match="PIN"):
            cafe.count(seen, counted=0, pin=pin)
    assert cafe.count(seen, counted=0, pin="2580").actor == ANA
    script = Caller(Principal("token till", frozenset(), ""), "token till")
    assert cafe.count(cafe.expected(), counted=0, caller=script).actor == "token till"


class Times:
    """The two clocks of a machine that is switched off, sleeps, and has its clock set."""

    def __init__(self, cafe: Cafe) -> None:
        self.cafe, self.here = cafe, ClockReading(time.time(), 1000.0)
        self.outages = self.switched_on()

    def switched_on(self) -> OutageService:
        """Return the service of a start, which notes the time at once."""
        made = OutageService(self.cafe.snapshots, self.cafe.journal, self.cafe.counter, lambda: self.here)
        asyncio.run(made.beat())
        return made

    def beat(self, wall: float, steady: float | None = None) -> bool:
        """Let seconds pass by either clock, and note the time. Return True if sessions changed."""
        self.here = ClockReading(self.here.wall + wall, self.here.steady + (wall if steady is None else steady))
        return asyncio.run(self.outages.beat())

    def power_cut(self, seconds: float) -> None:
        self.here = ClockReading(self.here.wall + seconds, 5.0)
        self.outages = self.switched_on()

    def left(self, session: str) -> float:
        """Return the seconds that a session has left."""
        found = self.cafe.store.session(session)
        assert found is not None
        assert found.ends is not None
        return found.ends - self.here.wall


@pytest.fixture
def times(cafe: Cafe) -> Times:
    return Times(cafe)


def actions(cafe: Cafe) -> list[str]:
    return [each.action.value for each in cafe.store.entries(0.0, time.time() + 86400)]


@pytest.mark.parametrize("minutes", [60, 15])
def test_the_time_of_a_power_cut_is_given_back(cafe: Cafe, times: Times, minutes: int) -> None:
    """Also if the session would have ended in the dark."""
    session = cafe.open(minutes)
    assert not times.beat(15)
    before = times.left(session)
    times.power_cut(1200)
    assert times.left(session) == pytest.approx(before, abs=0.01)
    assert actions(cafe) == ["open", "outage"]
    entry = cafe.store.of_session(session)[-1]
    assert (entry.actor, entry.minutes, entry.due, entry.taken) == ("Hedgerow", 20, 0, 0)
    assert not times.beat(15)
    times.power_cut(30)
    times.power_cut(90)
    assert actions(cafe) == ["open", "outage"], "given back once, and nothing for a restart"
    assert shift_report(cafe.store.entries(0.0, times.here.wall + 1), lambda _kind: False).outage_minutes == 20


def test_who_pays_afterwards_pays_nothing_for_a_power_cut(cafe: Cafe, times: Times) -> None:
    cafe.open(None, "after")
    cafe.pass_time(29.9)
    times.beat(15)
    times.power_cut(1800)
    cafe.pass_time(30)  # the time of the cut, by the clock of the counter
    cafe.end()
    assert sum(each.due for each in cafe.entries()) == 120


def test_a_machine_that_slept_gives_the_time_back(cafe: Cafe, times: Times) -> None:
    session = cafe.open(60)
    times.beat(15)
    before = times.left(session)
    assert times.beat(915, steady=15)
    assert times.left(session) == pytest.approx(before - 15, abs=0.01)
    assert not times.beat(600), "a store that was away for ten minutes is no outage"


def test_a_paused_session_is_given_back_only_what_it_lost(cafe: Cafe, times: Times) -> None:
    session = cafe.open(60)
    asyncio.run(cafe.sessions.pause_session(SEAT, 10, actor=ANA))
    times.beat(1)
    before = times.left(session)
    times.power_cut(1200)
    assert times.left(session) == pytest.approx(before - 600, abs=2), "ten minutes stood still anyway"


def test_after_a_long_outage_the_rest_can_be_had_as_a_voucher(cafe: Cafe, times: Times) -> None:
    paid, owing = cafe.open(60), ""
    cafe.pass_time(20.5)
    owing = cafe.sessions.start_in_turn(cafe.seat("seat-2"), ANA, GuestOrder("child", 60, pays=Payment.AFTER), None).id
    times.power_cut(12 * 3600)
    rest, debt = (session_histories(cafe.store.of_session(each))[0] for each in (paid, owing))
    assert (rest.unused, rest.owed) == (39, 0)
    assert (debt.unused, debt.owed) == (0, 0), "nobody pays for the time in the dark"
    times.power_cut(60)
    assert actions(cafe) == ["open", "open", "end", "end"]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_clock_that_is_set_back_is_no_outage(cafe: Cafe, times: Times, is_running: bool) -> None:
    over = cafe.open(60)
    cafe.end()
    session = cafe.open(60)
    times.beat(15)
    before = times.left(session)
    if is_running:
        assert times.beat(-3600, steady=15)
        before -= 15
    else:
        times.power_cut(-3600)
    assert times.left(session) == pytest.approx(before, abs=0.01)
    assert times.left(over) <= 0, "what is over stays over"
    assert actions(cafe) == ["open", "end", "open", "clock"]
    assert not times.beat(15)
    assert sum(each.taken for each in cafe.entries()) == 400


def check(prices: str) -> tuple[Health, str]:
    (finding,) = check_prices(SimpleNamespace(policy=policy_with(prices)))  # type: ignore[arg-type]
    return finding.health, finding.found


def test_the_doctor_names_a_kind_without_a_price() -> None:
    health, found = check("{child: 200}")
    assert health is Health.UNSURE
    assert "adult" in found
    assert "teen" in found
    assert check("{child: 200, adult: 300, teen: 0}")[0] is Health.GOOD
    unpriced = SimpleNamespace(policy=parse_policy(b"seats: {seat-1: {ip: 127.0.0.6}}", None))
    assert list(check_prices(unpriced)) == []  # type: ignore[arg-type]


def test_a_seat_says_for_a_while_that_the_time_of_its_guest_is_over(cafe: Cafe) -> None:
    cafe.open(30)
    cafe.pass_time(31)
    now = time.time()
    assert cafe.store.ended_by_themselves(now - 600, now) == {"seat-1": pytest.approx(now - 60, abs=30)}
    assert cafe.store.ended_by_themselves(now - 30, now) == {}
    cafe.open(30)
    cafe.end()
    assert cafe.store.ended_by_themselves(now - 30, time.time()) == {}, "somebody at the counter ended it"


def test_a_pause_leaves_no_unused_time_of_its_own_after_a_long_outage(cafe: Cafe) -> None:
    times = Times(cafe)
    session = cafe.open(60)
    cafe.pass_time(50)
    asyncio.run(cafe.sessions.pause_session(SEAT, 15, actor=ANA))
    times.beat(1.0)
    times.power_cut(5 * 3600)
    ended = cafe.store.of_session(session)[-1]
    assert (ended.action, ended.minutes) == (CounterAction.END, 9)
