"""Facts of one session from its entries: when its guest pays, at which prices, and for how many minutes. Pure.

A session keeps the prices of its beginning, which the note of its first entry has after its first word. Entries of
older versions have no prices there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.settings import Tariff
from hedgerow.policies.seats import Payment

if TYPE_CHECKING:
    from hedgerow.features.cafe.members import Member

FREE = Tariff(((60, 0),))
"""The tariff of a kind of session without a price."""

_MEMBER = "member "
_MONEY_ONLY = frozenset({CounterAction.PAY, CounterAction.ARTICLE, CounterAction.CHARGE})
_GIVES_MINUTES = frozenset({CounterAction.OPEN, CounterAction.EXTEND, CounterAction.REDEEM})


def opening_note(word: str, tariff: Tariff) -> str:
    """Return the note of a session's first entry: the payment or the serial of a voucher, and the prices.

    >>> opening_note("after", Tariff(((30, 120), (60, 200))))
    'after 30:120 60:200'
    """
    return f"{word} {tariff}"


def session_due(entries: Sequence[CounterEntry]) -> int:
    """Return what a session itself costs so far, from its entries, without the articles on its bill."""
    return sum(each.due for each in entries if each.action is not CounterAction.ARTICLE)


def payment_of(entries: Sequence[CounterEntry]) -> Payment:
    """Return when the guest of a session pays, given its entries. Vouchers are paid before."""
    is_after = bool(entries) and entries[0].note.split(" ")[0] == Payment.AFTER
    return Payment.AFTER if is_after else Payment.BEFORE


def tariff_of(entries: Sequence[CounterEntry], current: Tariff) -> Tariff:
    """Return the prices of a session, which are those of its beginning if its entries have them."""
    steps = entries[0].note.split(" ")[1:] if entries else []
    return Tariff.parse(steps) if steps else current


def member_note(number: int) -> str:
    """Return the note of an entry about the balance of a member."""
    return f"{_MEMBER}{number}"


def is_of_balance(entry: CounterEntry) -> bool:
    """Return whether an entry is about the balance of a member."""
    return entry.note.startswith(_MEMBER)


def paid_by_members(entries: Sequence[CounterEntry]) -> dict[int, int]:
    """Return what balances have paid for a session and not got back, by the member's number, the latest payer first."""
    paid: dict[int, int] = {}
    for each in entries:
        if each.action is CounterAction.PAY and is_of_balance(each):
            number = int(each.note.removeprefix(_MEMBER))
            paid[number] = paid.pop(number, 0) + each.taken
    return {number: amount for number, amount in reversed(paid.items()) if amount > 0}


def shares_of_balances(
    entries: Sequence[CounterEntry], amount: int, currency: str, members: Iterable[Member]
) -> list[tuple[Member, int]]:
    """Return how much of an amount that a guest gets back goes to which of these members, the latest payer first.

    Each balance gets at most what it has paid for the session. Members who were removed, and those whose balance is in
    another currency, get nothing there.
    """
    known = {each.number: each for each in members if not each.balance or each.currency == currency}
    shares = []
    for number, paid in paid_by_members(entries).items():
        if number in known and (share := min(paid, amount)) > 0:
            shares.append((known[number], share))
            amount -= share
    return shares


def given_minutes(entries: Sequence[CounterEntry]) -> int:
    """Return the minutes that a session was given, from its entries."""
    return sum(each.minutes for each in entries if each.action in _GIVES_MINUTES)


def outage_minutes(entries: Sequence[CounterEntry]) -> int:
    """Return the minutes of a session in which no machine ran."""
    return sum(each.minutes for each in entries if each.action is CounterAction.OUTAGE)


def unused_minutes(entries: Sequence[CounterEntry]) -> int:
    """Return the minutes that were paid before and not used, for which there is no voucher yet.

    What is sold or paid after the end of the session changes nothing about them.
    """
    last = next((each for each in reversed(entries) if each.action not in _MONEY_ONLY), None)
    if last is None or last.action is not CounterAction.END or payment_of(entries) is Payment.AFTER:
        return 0
    return last.minutes
