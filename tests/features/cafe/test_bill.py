"""Bills of guests: articles beside the minutes, and members who pay from a balance."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher

from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.actions.orders import ExtendOrder, PaymentWay, SeatOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import PasswordHashes
from hedgerow.dashboards.words.languages import language
from hedgerow.features.cafe.cash import till
from hedgerow.features.cafe.counter import CounterService
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore, StaffRow, balance
from hedgerow.features.cafe.done_texts import done_text
from hedgerow.features.cafe.members import Members
from hedgerow.features.cafe.refusals import NoSession
from hedgerow.features.cafe.sales import SaleOrder, Sales
from hedgerow.features.cafe.sessions import GuestOrder, SessionService
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import ArticleTotals, debts_of, entries_csv, session_histories, shift_report
from hedgerow.journal.access_store import GrantStore, NoSuchEntry
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.seats import Payment

POLICY = """
cafe: {currency: EUR, prices: {child: {30: 120, 60: 200}}, articles: {Cola: 150, "Print A4": 10}}
seats: {seat-1: {ip: 127.0.0.6}, seat-2: {ip: 127.0.0.7}}
"""
ANA = "Ana"


def part_of_control(**values: Any) -> Any:
    """Return what the counter's parts use of control."""
    return SimpleNamespace(**values)


class Cafe:
    """The counter of a café without staff, on a journal of its own."""

    def __init__(self, journal: Store) -> None:
        self.store = CounterStore(journal)
        passwords = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        accounts = Accounts(AccountStore(journal), time.time, passwords)
        self.policy = parse_policy(POLICY.encode(), None)
        self.snapshots: Any = SimpleNamespace(
            policy=self.policy,
            view=None,
            usage=UsageStore(journal),
            ledger=GrantStore(journal),
            reader=JournalReader(journal),
            put_in_force=lambda: asyncio.sleep(0),
        )
        self.counter = CounterService(self.snapshots, self.store, accounts)
        self.core = part_of_control(clock=time.time, policy=self.policy, store=journal)
        self.sales = Sales(self.core, self.counter)
        self.members = Members(journal, self.counter, lambda: cafe_of(self.core.policy).currency, time.time)
        self.sessions = SessionService(self.snapshots, self.counter, self.members)

    def open(self, minutes: float, pays: str = "after", seat: str = "seat-1", member: int | None = None) -> str:
        order = GuestOrder("child", minutes, pays=Payment(pays), member=member)
        return self.sessions.start_in_turn(self.policy.devices[seat], ANA, order).id

    def extend(self, minutes: float, pays: PaymentWay | None = None, member: int | None = None) -> None:
        order = ExtendOrder(minutes=minutes, pays=pays, member=member)
        self.sessions.extend_in_turn(self.policy.devices["seat-1"], order, ANA, None)

    def end(self, seat: str = "seat-1") -> None:
        self.sessions.end_in_turn(self.policy.devices[seat], ANA, None)

    def sell(self, article: str, count: int = 1, seat: str = "", request: str = "") -> None:
        order = SaleOrder(article=article, count=count, seat=seat)
        asyncio.run(self.sales.sell(order, actor=ANA, request=request))

    def pay(self, session: str) -> None:
        asyncio.run(self.members.pay(session, actor=ANA))

    def join(self, name: str, amount: int = 0) -> int:
        number = asyncio.run(self.members.add(name, actor=ANA)).number
        if amount:
            self.deposit(number, amount)
        return number

    def deposit(self, number: int, amount: int, request: str = "") -> None:
        asyncio.run(self.members.deposit(number, amount, actor=ANA, request=request))

    def charge(self, number: int, session: str, request: str = "") -> None:
        asyncio.run(self.members.charge(number, session, actor=ANA, request=request))

    def balances(self) -> list[int]:
        return [each.balance for each in self.members.all()]

    def owed(self, session: str) -> int:
        return balance(self.store.of_session(session))

    def till(self) -> int:
        return till(self.store, self.core.policy, time.time()).taken


@pytest.fixture
def cafe(journal: Store) -> Cafe:
    return Cafe(journal)


def test_a_drink_is_paid_at_once_and_a_double_tap_sells_one(cafe: Cafe) -> None:
    for _ in range(2):
        cafe.sell("Cola", 2, request="the form")
    cafe.sell("Cola", -1)
    assert cafe.till() == 150
    with pytest.raises(InvalidInput, match="no more can be taken back"):
        cafe.sell("Cola", -2)
    with pytest.raises(InvalidInput, match="no article 'Tea'"):
        cafe.sell("Tea")
    with pytest.raises(InvalidInput, match="Nobody sits"):
        cafe.sell("Cola", seat="seat-2")
    cafe.store.put_staff(StaffRow("Ben", "staff", time.time(), "hash"))
    with pytest.raises(InvalidInput, match="on duty"):
        cafe.sell("Cola")
    assert cafe.till() == 150


def test_a_bill_has_the_minutes_and_the_drinks_and_its_sums_agree(cafe: Cafe) -> None:
    """The end of the session prices its minutes anew, and leaves the drinks."""
    session = cafe.open(60)
    cafe.sell("Cola", 2, seat="seat-1")
    cafe.sell("Print A4", 7, seat="seat-1")
    assert cafe.owed(session) == 200 + 300 + 70
    cafe.sell("Cola", -1, seat="seat-1")
    cafe.end()
    assert cafe.owed(session) == 4 + 150 + 70, "one minute of the hour was used"
    cafe.pay(session)
    assert (cafe.owed(session), cafe.till()) == (0, 224)
    entries = cafe.store.entries(0.0, time.time() + 1)
    report = shift_report(entries, lambda _kind: False)
    assert report.articles == (ArticleTotals("Cola", 1, 150), ArticleTotals("Print A4", 7, 70))
    assert [(each.kind, each.count, each.value) for each in report.sessions] == [("child", 1, 4)]
    assert report.takings == {"EUR": 224}
    rows = list(csv.DictReader(io.StringIO(entries_csv(entries, ZoneInfo("UTC")))))
    assert sum(int(row["taken"]) for row in rows) == sum(int(row["due"]) for row in rows) == 224
    (history,) = session_histories(entries)
    assert (history.paid, history.owed, history.minutes) == (224, 0, 1)


def test_what_was_paid_before_the_session_ends_leaves_only_the_drinks(cafe: Cafe) -> None:
    session = cafe.open(60, pays="before")
    cafe.sell("Cola", seat="seat-1")
    assert cafe.owed(session) == 150
    cafe.end()
    assert cafe.owed(session) == 150
    cafe.pay(session)
    assert session_histories(cafe.store.of_session(session))[0].unused == 59
    assert cafe.counter.crediting(session, ANA).minutes == 59, "the drink takes no voucher away"


def test_what_is_taken_back_has_the_price_at_which_it_was_sold(cafe: Cafe) -> None:
    cafe.sell("Cola")
    cafe.core.policy = parse_policy(POLICY.replace("Cola: 150", "Cola: 200").encode(), None)
    cafe.sell("Cola", -1)
    assert cafe.till() == 0
    assert [each.action for each in cafe.store.entries(0.0, 9e9)] == [CounterAction.ARTICLE] * 2


def test_a_member_pays_the_session_and_the_drink_from_the_balance(cafe: Cafe) -> None:
    member = cafe.join("Mia", 1000)
    session = cafe.open(60)
    cafe.sell("Cola", seat="seat-1")
    for _ in range(2):
        cafe.charge(member, session, request="the form")
    assert (cafe.owed(session), cafe.balances()) == (0, [650])
    assert cafe.till() == 1000, "the till has what was paid in, and nothing more"
    cafe.end()
    assert cafe.owed(session) == -196
    cafe.charge(member, session)
    assert (cafe.owed(session), cafe.balances()) == (0, [846])
    entries = cafe.store.entries(0.0, 9e9)
    assert sum(each.taken for each in entries if each.note == "member 1" and not each.session) == 846
    report = shift_report(entries, lambda _kind: False)
    assert (report.takings, report.paid_in, report.from_balances) == ({"EUR": 1000}, {"EUR": 1000}, {"EUR": 154})
    assert "Mia" not in entries_csv(entries, ZoneInfo("UTC")), "entries have the number only"
    cafe.deposit(member, -846)
    assert (cafe.till(), cafe.balances()) == (154, [0])


def test_a_balance_never_falls_below_zero_whoever_asks_at_once(cafe: Cafe) -> None:
    member = cafe.join("0042", 300)
    for _ in range(2):
        cafe.deposit(member, 50, request="a double tap")
    bills = [cafe.open(60, seat="seat-1"), cafe.open(60, seat="seat-2")]

    async def both() -> list[BaseException | None]:
        taps = [cafe.members.charge(member, bill, actor=ANA) for bill in bills for _ in range(2)]
        return await asyncio.gather(*taps, return_exceptions=True)

    problems = [each for each in asyncio.run(both()) if each is not None]
    assert (len(problems), cafe.balances()) == (3, [150])
    assert sorted(map(cafe.owed, bills)) == [0, 200]
    before = cafe.store.entries(0.0, 9e9)
    with pytest.raises(InvalidInput, match="has less than that"):
        cafe.deposit(member, -151)
    with pytest.raises(InvalidInput, match="too small"):
        cafe.charge(member, next(bill for bill in bills if cafe.owed(bill)))
    with pytest.raises(InvalidInput, match="Nothing is left to pay"):
        cafe.charge(member, next(bill for bill in bills if not cafe.owed(bill)))
    assert cafe.store.entries(0.0, 9e9) == before, "what is refused leaves no entry"


def test_names_are_taken_once_and_numbers_are_not_given_again(cafe: Cafe) -> None:
    first = cafe.join("Mia", 100)
    with pytest.raises(InvalidInput, match="already"):
        cafe.join(" mia ")
    with pytest.raises(InvalidInput, match="name or a number"):
        cafe.join("  ")
    with pytest.raises(InvalidInput, match="Pay the balance"):
        asyncio.run(cafe.members.remove(first, actor=ANA))
    cafe.deposit(first, -100)
    asyncio.run(cafe.members.remove(first, actor=ANA))
    assert cafe.members.all() == ()
    with pytest.raises(NoSuchEntry):
        cafe.deposit(first, 100)
    assert cafe.join("Mia") == first + 1


def test_nobody_touches_a_balance_without_duty(cafe: Cafe) -> None:
    member, session = cafe.join("Mia", 500), cafe.open(30)
    cafe.store.put_staff(StaffRow("Ben", "staff", time.time(), "hash"))
    for refused in (
        lambda: cafe.deposit(member, 1),
        lambda: cafe.charge(member, session),
        lambda: cafe.join("Tom"),
        lambda: asyncio.run(cafe.members.remove(member, actor=ANA)),
    ):
        with pytest.raises(InvalidInput, match="on duty"):
            refused()
    assert cafe.balances() == [500]


def test_what_a_balance_has_paid_goes_back_to_it_and_only_the_rest_is_cash(cafe: Cafe) -> None:
    """The guest pays an hour from the balance, a drink in cash, and both are more than is owed in the end."""
    member, other = cafe.join("Mia", 1000), cafe.join("Tom", 100)
    session = cafe.open(60)
    cafe.charge(member, session)
    cafe.sell("Cola", seat="seat-1")
    cafe.pay(session)
    assert (cafe.till(), cafe.balances()) == (1100 + 150, [800, 100])
    cafe.sell("Cola", -1, seat="seat-1")
    cafe.end()
    (debt,) = debts_of(cafe.store.unpaid(), cafe.members.all())
    assert (debt.amount, debt.to_balance) == (-346, 200), "the page says so before"
    for _ in range(2):
        asyncio.run(cafe.members.pay(session, actor=ANA, request="a double tap"))
    assert (cafe.owed(session), cafe.till(), cafe.balances()) == (0, 1100 + 4, [1000, 100])
    entries = cafe.store.entries(0.0, 9e9)
    assert [(each.action, each.taken, each.note) for each in entries[-3:]] == [
        ("pay", -200, "member 1"),
        ("charge", 200, "member 1"),
        ("pay", -146, ""),
    ]
    rows = list(csv.DictReader(io.StringIO(entries_csv(entries, ZoneInfo("UTC")))))
    assert sum(int(row["taken"]) for row in rows) == shift_report(entries, lambda _kind: False).takings["EUR"] == 1104

    again = cafe.open(60, seat="seat-2")
    cafe.charge(member, again)
    cafe.end("seat-2")
    cafe.charge(other, again)
    assert cafe.balances() == [996, 100], "it is not given to another member"


def test_what_a_removed_member_has_paid_is_given_back_in_cash(cafe: Cafe) -> None:
    member = cafe.join("Mia", 200)
    session = cafe.open(60)
    cafe.charge(member, session)
    asyncio.run(cafe.members.remove(member, actor=ANA))
    cafe.end()
    cafe.pay(session)
    assert (cafe.owed(session), cafe.till()) == (0, 4)


def test_a_balance_stays_in_its_currency_and_an_empty_one_has_that_of_the_policy(cafe: Cafe) -> None:
    """No money is lost whatever `cafe.currency` becomes, and each till has what was paid in its currency."""
    euros = cafe.core.policy
    cafe.core.policy = parse_policy(b"seats: {seat-1: {ip: 127.0.0.6}}", None)
    early, empty = cafe.join("Mia", 10), cafe.join("Tom")
    cafe.core.policy = euros
    cafe.deposit(empty, 500)
    here = till(cafe.store, cafe.core.policy, time.time())
    assert (here.expected, here.others) == (500, {"": 10})
    session = cafe.open(60)
    for refused in (lambda: cafe.charge(early, session), lambda: cafe.deposit(early, 100)):
        with pytest.raises(InvalidInput, match="another currency: pay it out first"):
            refused()
    cafe.charge(empty, session)
    cafe.deposit(early, -10)
    cafe.deposit(early, 700)
    here = till(cafe.store, cafe.core.policy, time.time())
    assert (here.expected, here.others, cafe.balances()) == (1200, {}, [700, 300])
    report = shift_report(cafe.store.entries(0.0, 9e9), lambda _kind: False)
    assert (report.takings, report.paid_in) == ({"": 0, "EUR": 1200}, {"": 0, "EUR": 1200})

    cafe.core.policy = parse_policy(POLICY.replace("EUR", "JPY").encode(), None)
    here = till(cafe.store, cafe.core.policy, time.time())
    assert (here.expected, here.left, here.others) == (0, 0, {"EUR": 1200}), "and is still counted in euros"
    assert [each.currency for each in cafe.members.all()] == ["EUR", "EUR"]


def test_the_counter_says_what_was_done_the_sum_and_how_it_is_paid(cafe: Cafe) -> None:
    member = cafe.join("Mia", 200)
    said = [done_text(cafe.store.entries(0.0, 9e9)[-1:], language("en"))]
    session = cafe.open(60)
    said.append(done_text(cafe.store.entries(0.0, 9e9)[-1:], language("en")))
    cafe.charge(member, session)
    said.append(done_text(cafe.store.of_session(session)[-1:], language("en")))
    cafe.open(30, "before", "seat-2")
    cafe.sell("Cola", 2)
    cafe.sell("Cola", -1)
    said += [done_text([each], language("en")) for each in cafe.store.entries(0.0, 9e9)[-3:]]
    cafe.sell("Cola", seat="seat-1")
    cafe.end()
    entries = cafe.store.of_session(session)
    cafe.pay(session)
    said.append(done_text(cafe.store.of_session(session)[len(entries) :], language("en")))
    assert said == [
        "€2.00: paid in cash.",
        "60 minutes at seat-1, €2.00: to be paid.",
        "€2.00: paid from the balance.",
        "30 minutes at seat-2, €1.20: paid in cash.",
        "2 × Cola, €3.00: paid in cash.",
        "-1 × Cola, €1.50: given back in cash.",
        "€0.46: back to the balance.",
    ]
    (history,) = session_histories(cafe.store.of_session(session))
    lines = [(each.action, each.minutes, each.due) for each in history.lines]
    assert lines == [("open", 60, 200), ("article", 0, 150), ("end", 59, -196)]
    assert (history.paid, history.paid_by_balance, history.owed) == (154, 154, 0)


def test_a_seat_is_opened_from_a_balance(cafe: Cafe) -> None:
    """The till gets nothing, and what is not used goes back to the balance."""
    ben = cafe.join("Ben", 500)
    session = cafe.open(60, member=ben)
    assert (cafe.balances(), cafe.owed(session), cafe.till()) == ([300], 0, 500)
    entries = cafe.store.entries(0.0, time.time() + 1)
    made = [each for each in entries if each.at == entries[-1].at]
    assert done_text(made, language("en")) == "60 minutes at seat-1, €2.00: paid from the balance."
    cafe.end()
    cafe.pay(session)
    assert (cafe.balances(), cafe.owed(session), cafe.till()) == ([496], 0, 500), "the first minute costs €0.04"


def test_a_balance_that_is_too_small_opens_nothing_and_ends_nothing(cafe: Cafe) -> None:
    ben, first = cafe.join("Ben", 100), cafe.open(30)
    guest = GuestOrder("child", 60, member=ben, replaces=first)
    with pytest.raises(InvalidInput, match=r"The balance of Ben is too small: let more be paid in"):
        cafe.sessions.start_in_turn(cafe.policy.devices["seat-1"], ANA, guest)
    with pytest.raises(InvalidInput, match="too small"):
        cafe.extend(60, member=ben)
    with pytest.raises(NoSuchEntry, match="no member 9"):
        cafe.extend(30, member=9)
    assert [each.action for each in cafe.store.of_session(first)] == [CounterAction.OPEN]
    assert cafe.balances() == [100]


@pytest.mark.parametrize(
    ("pays", "named", "balance_left", "owed", "cash"),
    [
        (None, False, 220, 0, 0),
        (PaymentWay.BALANCE, False, 220, 0, 0),
        (PaymentWay.BEFORE, False, 300, 0, 80),
        (PaymentWay.AFTER, False, 300, 80, 0),
        (None, True, 300, 0, 0),
        (PaymentWay.BEFORE, True, 300, 0, 80),
    ],
)
def test_more_minutes_of_a_member_are_paid_as_was_chosen(
    cafe: Cafe, pays: PaymentWay | None, named: bool, balance_left: int, owed: int, cash: int
) -> None:
    """By default by the balance that has paid before, and never silently in cash."""
    ben, eve = cafe.join("Ben", 420), cafe.join("Eve", 80)
    session = cafe.open(30, member=ben)
    cafe.extend(30, pays, eve if named else None)
    assert (cafe.balances()[0], cafe.owed(session), cafe.till() - 500) == (balance_left, owed, cash)
    assert cafe.balances()[1] == (0 if named and pays is None else 80)
    assert len({each.at for each in cafe.store.of_session(session)}) == 2, "each with its payment"


@pytest.mark.parametrize(("pays", "cash"), [("before", 120), ("after", 0)])
def test_more_minutes_of_others_are_paid_as_the_session(cafe: Cafe, pays: str, cash: int) -> None:
    ben, session = cafe.join("Ben", 200), cafe.open(30, pays)
    cafe.extend(15)
    cafe.extend(15, member=ben)
    assert cafe.till() - 200 == cash + (60 if pays == "before" else 0)
    assert (cafe.balances(), cafe.owed(session)) == ([180], 180 - cash - (60 if pays == "before" else 0))
    cafe.open(30, seat="seat-2")
    order = ExtendOrder(minutes=30, pays=PaymentWay.BALANCE)
    with pytest.raises(InvalidInput, match="Choose the member who pays"):
        cafe.sessions.extend_in_turn(cafe.policy.devices["seat-2"], order, ANA, None)


def test_what_a_balance_can_not_open_is_said() -> None:
    for order, problem in (
        (SeatOrder(band="child", minutes=60, pays=PaymentWay.BALANCE), "Choose the member who pays"),
        (SeatOrder(band="child", member=3), "say how many"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            GuestOrder.of(order, "child", order.minutes, None)
    cash = GuestOrder.of(SeatOrder(band="child", minutes=60, pays=PaymentWay.BEFORE, member=3), "child", 60, None)
    assert (cash.pays, cash.member) == (Payment.BEFORE, None), "the way that was chosen counts"


def test_a_member_who_was_removed_pays_no_more_minutes(cafe: Cafe) -> None:
    ben = cafe.join("Ben", 120)
    session = cafe.open(30, member=ben)
    asyncio.run(cafe.members.remove(ben, actor=ANA))
    cafe.extend(30)
    assert cafe.owed(session) == 80


@pytest.mark.parametrize("gone", ["removed", "another currency"])
def test_the_button_says_cash_where_no_balance_takes_the_money_back(cafe: Cafe, gone: str) -> None:
    member = cafe.join("Mia", 200)
    session = cafe.open(60, member=member)
    if gone == "removed":
        asyncio.run(cafe.members.remove(member, actor=ANA))
    else:
        cafe.core.policy = parse_policy(POLICY.replace("EUR", "CHF").encode(), None)
        cafe.deposit(member, 300)
    cafe.end()
    (debt,) = debts_of(cafe.store.unpaid(), cafe.members.all())
    (history,) = session_histories(cafe.store.of_session(session))
    assert (debt.amount, debt.to_balance, history.to_balance(cafe.members.all())) == (-196, 0, 0)
    before = till(cafe.store, cafe.core.policy, time.time(), "EUR").taken
    cafe.pay(session)
    assert till(cafe.store, cafe.core.policy, time.time(), "EUR").taken - before == -196, "as the button said"


def test_what_is_done_at_a_seat_that_is_free_by_now_says_what_to_do(cafe: Cafe) -> None:
    """Two people at two phones: one has ended the session that the other still sees."""
    session = cafe.open(60)
    cafe.end()
    for act in (
        lambda: cafe.extend(15),
        cafe.end,
        lambda: asyncio.run(cafe.sessions.pause_session("seat-1", 5, actor=ANA)),
        lambda: asyncio.run(cafe.sessions.move_session("seat-1", "seat-2", actor=ANA)),
    ):
        with pytest.raises(NoSession, match=r"Nobody sits at seat-1 any more: .*\. Open the seat again"):
            act()
    cafe.open(60)
    with pytest.raises(NoSession, match=r"undone any more: .* seat-1 is taken"):
        asyncio.run(cafe.sessions.reopen_session(session, None, actor=ANA))
    cafe.open(60, seat="seat-2")
    with pytest.raises(InvalidInput, match="seat-2 is taken: choose a free seat"):
        asyncio.run(cafe.sessions.move_session("seat-1", "seat-2", actor=ANA))
    member = cafe.join("Mia", 100)
    with pytest.raises(InvalidInput, match="The balance of Mia has less than that"):
        cafe.deposit(member, -101)
