"""Facts of one session from its entries: when its guest pays, at which prices, and for how many minutes. Pure.

A session keeps the prices of its beginning, which the note of its first entry has after its first word. Entries of
older versions have no prices there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.settings import Tariff
from hedgerow.policies.model import Session
from hedgerow.policies.seats import Payment

if TYPE_CHECKING:
    from hedgerow.features.cafe.members import Member

_MEMBER = "member "
_MONEY_ONLY = frozenset({CounterAction.PAY, CounterAction.ARTICLE, CounterAction.CHARGE})
_GIVES_MINUTES = frozenset({CounterAction.OPEN, CounterAction.EXTEND, CounterAction.REDEEM})
_BY_STAFF = frozenset({CounterAction.OPEN, CounterAction.EXTEND})
_UNDONE_BY = {CounterAction.REOPEN: frozenset({CounterAction.END}), CounterAction.UNDO: _BY_STAFF}
"""The actions of which an entry undoes the last one."""
_STEPS = _GIVES_MINUTES | {CounterAction.END, CounterAction.CREDIT}
"""The actions that change how long a session lasts, except those that undo one."""


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
    return sum(each.minutes for each in in_effect(entries) if each.action in _GIVES_MINUTES)


def in_effect(entries: Iterable[CounterEntry]) -> list[CounterEntry]:
    """Return the entries of a session without those that were undone, and those that undo them."""
    found: list[CounterEntry] = []
    for each in entries:
        undone = _UNDONE_BY.get(each.action)
        if undone is None:
            found.append(each)
            continue
        place = next((at for at in reversed(range(len(found))) if found[at].action in undone), None)
        if place is not None:
            del found[place]
    return found


def undoes_opening(entry: CounterEntry) -> bool:
    """Return whether an entry takes back the opening of a seat."""
    return entry.action is CounterAction.UNDO and entry.note == CounterAction.OPEN.value


def last_step(entries: Sequence[CounterEntry]) -> CounterEntry | None:
    """Return the opening or the minutes that an undo takes back: what last changed how long the session lasts.

    None if that was something else, such as a voucher or the end, or nothing is left.
    """
    last = next((each for each in reversed(in_effect(entries)) if each.action in _STEPS), None)
    return last if last is not None and last.action in _BY_STAFF else None


def due_at_end(entries: Sequence[CounterEntry], session: Session, tariff: Tariff, now: float) -> int:
    """Return what a session costs if it ends now, without the articles on its bill.

    A guest who pays afterwards pays for the minutes that were used. A clock that was set back meanwhile makes neither
    more minutes of it than the session was given, nor fewer than none.
    """
    owed = session_due(entries)
    if payment_of(entries) is not Payment.AFTER:
        return owed
    if session.ends is None:
        used = now - session.starts - 60 * outage_minutes(entries)
        return tariff.price(max(0, -(-int(used) // 60)))
    unused = unused_at_end(entries, session, now)
    return min(owed, tariff.price(given_minutes(entries) - unused)) if unused else owed


def unused_at_end(entries: Sequence[CounterEntry], session: Session, now: float) -> int:
    """Return the minutes that a session leaves unused if it ends now."""
    left = int((session.ends - now) // 60) if session.ends is not None else 0
    return min(max(0, left), given_minutes(entries))


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
