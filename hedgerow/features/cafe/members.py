"""Members of a café: guests who pay in before, and whose sessions and bills are paid from that balance.

A member is a number and a name. The counter's entries have only the number, as `member 7`. A balance is the sum of its
entries, and is kept in a row of its own, since entries are deleted one day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le, MaxLen
from sqlalchemy import Connection, func, select

from hedgerow.dashboards.actions.action import Order, Shown
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.cash import MOST
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.session_entries import (
    is_of_balance,
    member_note,
    paid_by_members,
    shares_of_balances,
)
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.contract import Core
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import JournalEntry, Store, write_entries
from hedgerow.journal.tables import members

_MEMBER = members.c
MAX_MEMBERS = 10_000


@dataclass(frozen=True, slots=True)
class Member:
    """A member and the balance, in the smallest unit of the currency."""

    number: int
    name: str
    balance: int
    currency: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberOrder(Order):
    """Name of a new member: that of a person, or the number on a card."""

    name: Annotated[str, MaxLen(60), Shown("A name, or the number on a card.", "NAME")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositOrder(Order):
    """Amount that a member pays in, or, below zero, gets back."""

    amount: Annotated[
        int, Ge(-MOST), Le(MOST), Shown("What is paid in, or out below zero, in cents or the like.", option="--amount")
    ]


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A change of a balance with the entries about it, which are written together or not at all."""

    member: Member
    amount: int
    entries: tuple[CounterEntry, ...]

    @classmethod
    def paying(cls, member: Member, paid: CounterEntry) -> BalanceChange:
        """Return the change by a payment for a session, which takes nothing from the till or puts nothing into it: its
        entry has a counterpart.

        Raises `InvalidInput` if the balance is in another currency.
        """
        if member.balance and member.currency != paid.currency:
            raise InvalidInput("The balance of %(name)s is in another currency: pay it out first.", name=member.name)
        paid, note = replace(paid, note=member_note(member.number)), member_note(member.number)
        counterpart = CounterEntry(
            paid.at, paid.actor, CounterAction.CHARGE, taken=-paid.taken, currency=paid.currency, note=note
        )
        return cls(replace(member, currency=paid.currency), -paid.taken, (paid, counterpart))

    def write(self, store: Store, connection: Connection) -> int:
        """Write it in the transaction of a connection. Raises `InvalidInput` if the balance is too small."""
        is_it = (_MEMBER.number == self.member.number) & (_MEMBER.balance + self.amount >= 0)
        values = {"balance": _MEMBER.balance + self.amount, "currency": self.member.currency}
        if not connection.execute(store.update(members).where(is_it).values(values)).rowcount:
            raise _too_small(self.member)
        return [entry.write(store, connection) for entry in self.entries][-1]


class Members:
    """The members of this café. `request` identifies one that is carried out once."""

    def __init__(
        self, store: Store, counter: CounterService, currency: Callable[[], str], clock: Callable[[], float]
    ) -> None:
        self._store, self._counter, self._currency, self._clock = store, counter, currency, clock

    def all(self) -> tuple[Member, ...]:
        """Return the members, by number. Waits for the disk."""
        rows = self._store.rows(self._store.select(members).where(_MEMBER.name != "").order_by(_MEMBER.number))
        return tuple(Member(**{name: value for name, value in row._mapping.items() if name != "site"}) for row in rows)

    async def add(self, name: str, *, actor: str) -> Member:
        """Add a member. Raises `InvalidInput` for a name that is taken or no name."""
        name = " ".join(name.split())

        def add() -> Member:
            self._counter.check_actor(actor)
            known = self.all()
            if not name.isprintable() or not name:
                raise InvalidInput("Write a name or a number.").at("name")
            if any(each.name.casefold() == name.casefold() for each in known):
                raise InvalidInput("There is a member called '%(name)s' already.", name=name).at("name")
            if len(known) >= MAX_MEMBERS:
                raise InvalidInput("More than %(limit)s members cannot be kept.", limit=MAX_MEMBERS)
            last = self._store.scalar(select(func.max(_MEMBER.number)).where(self._store.own(members)))
            made = Member(int(last or 0) + 1, name, 0, self._currency(), self._clock())
            self._store.execute(self._store.insert(members).values(asdict(made)))
            return made

        return await self._counter.in_turn(add)

    async def remove(self, number: int, *, actor: str) -> None:
        """Forget the name of a member, whose balance must be paid out before. The number is never given again."""

        def remove() -> None:
            self._counter.check_actor(actor)
            member = self._member(number)
            if member.balance:
                raise InvalidInput("Pay the balance of %(name)s out first.", name=member.name)
            gone = self._store.update(members).where((_MEMBER.number == number) & (_MEMBER.balance == 0))
            self._store.execute(gone.values(name=""))

        await self._counter.in_turn(remove)

    async def deposit(self, number: int, amount: int, *, actor: str, request: str = "") -> None:
        """Record what a member pays in, or gets back. A balance stays in the currency in which it was paid in.

        Raises `InvalidInput` for more than there is, and if a balance in another currency than that of the policy is to
        grow.
        """
        key = key_of(request, CounterAction.DEPOSIT, f"{number}")

        def deposit() -> None:
            if self._counter.done_before(key) is not None:
                return
            self._counter.check_actor(actor)
            member = self._member(number)
            if member.balance + amount < 0:
                raise InvalidInput("The balance of %(name)s has less than that.", name=member.name).at("amount")
            if not amount or member.balance + amount > MOST:
                raise InvalidInput("Write an amount as a number, such as 12.50.").at("amount")
            if not member.balance:
                member = replace(member, currency=self._currency())
            if amount > 0 and member.currency != self._currency():
                raise InvalidInput(
                    "The balance of %(name)s is in another currency: pay it out first.", name=member.name
                )
            entry = CounterEntry(self._clock(), actor, CounterAction.DEPOSIT, taken=amount, currency=member.currency)
            self._write(BalanceChange(member, amount, (replace(entry, note=member_note(number), key=key),)))

        await self._counter.in_turn(deposit)

    async def charge(self, number: int, session: str, *, actor: str, request: str = "") -> None:
        """Pay what a session owes from a balance, or add to it what the session has paid too much.

        What other balances have paid goes back to them. Nothing is taken from the till. Raises `InvalidInput` if there
        is nothing to pay, or the balance is too small.
        """
        key = key_of(request, CounterAction.CHARGE, f"{number} {session}")
        await self._counter.in_turn(lambda: self._settle(session, actor, key, number))

    async def pay(self, session: str, *, actor: str, request: str = "") -> None:
        """Record that a guest pays what a session owes in cash, or gets back what it has paid too much.

        What balances have paid goes back to them, and only the rest is cash.
        """
        key = key_of(request, CounterAction.PAY, session)
        await self._counter.in_turn(lambda: self._settle(session, actor, key))

    def payment(self, number: int, entry: CounterEntry) -> tuple[BalanceChange, ...]:
        """Return the payment of the minutes of an entry from a balance, to be written with it; none if they are free.

        Raises `NoSuchEntry`, and `InvalidInput` if the balance is too small or in another currency. Waits for the disk.
        """
        if not entry.due:
            return ()
        member = self._member(number)
        change = BalanceChange.paying(
            member, replace(entry, action=CounterAction.PAY, minutes=0, due=0, taken=entry.due, key=None)
        )
        if member.balance < entry.due:
            raise _too_small(member)
        return (change,)

    def taking_back(self, given: CounterEntry, undone: CounterEntry) -> tuple[JournalEntry, ...]:
        """Return the entry that takes minutes back, with what goes back to the balance that has paid for them.

        It is cash if that member was removed or the balance is in another currency by now. Waits for the disk.
        """
        paid = [
            each
            for each in self._counter.store.of_session(given.session)
            if each.action is CounterAction.PAY and each.at == given.at and is_of_balance(each)
        ]
        changes: list[JournalEntry] = []
        for each in paid:
            shares = shares_of_balances([each], each.taken, given.currency, self.all())
            back = replace(undone, action=CounterAction.PAY, minutes=0, due=0, taken=-each.taken, key=None)
            if shares:
                changes.append(BalanceChange.paying(shares[0][0], back))
            else:
                undone = replace(undone, taken=undone.taken - each.taken)
        return (undone, *changes)

    def payer(self, entries: Sequence[CounterEntry]) -> Member | None:
        """Return the member whose balance has paid for a session last, given its entries. Waits for the disk."""
        return payer_of(entries, self.all())

    def _settle(self, session: str, actor: str, key: str | None, number: int | None = None) -> None:
        """Write the payment of a session: to the balances that have paid too much, and the rest in cash or by the
        balance of a member.
        """
        if self._counter.done_before(key) is not None:
            return
        paid = self._counter.payment(session, actor)
        chosen = self._member(number) if number is not None else None
        entries, rest = self._counter.store.of_session(session), -paid.taken
        shares = shares_of_balances(entries, rest, paid.currency, self.all())
        rest -= sum(share for _, share in shares)
        changes: list[JournalEntry] = [
            BalanceChange.paying(member, replace(paid, taken=-share, key=key if place == 0 else None))
            for place, (member, share) in enumerate(shares)
        ]
        if rest:
            last = replace(paid, taken=-rest, key=None if shares else key)
            changes.append(last if chosen is None else BalanceChange.paying(chosen, last))
        self._write(*changes)

    def _member(self, number: int) -> Member:
        found = next((each for each in self.all() if each.number == number), None)
        if found is None:
            raise NoSuchEntry(f"there is no member {number}")
        return found

    def _write(self, *changes: JournalEntry) -> None:
        with self._store.begin() as connection:
            write_entries(self._store, connection, changes)


def payer_of(entries: Sequence[CounterEntry], known: Iterable[Member]) -> Member | None:
    """Return which of these members has paid for a session last from the balance, given its entries; None for none."""
    numbers = {each.number: each for each in known}
    return next((numbers[number] for number in paid_by_members(entries) if number in numbers), None)


def _too_small(member: Member) -> InvalidInput:
    return InvalidInput(
        "The balance of %(name)s is too small: let more be paid in, or choose another way to pay.", name=member.name
    ).at("member")


def members_of(core: Core) -> Members:
    """Make the part of control for members."""
    return Members(core.store, core.part(counter_of), lambda: cafe_of(core.policy).currency, core.clock)
