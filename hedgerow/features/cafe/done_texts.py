"""Sentences of the counter about what was just done: what it was, the sum, and how it is paid."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.actions.orders import COUNTER_PATH, PaymentWay
from hedgerow.dashboards.pages.context import PageContext, redirect_to
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore
from hedgerow.features.cafe.session_entries import is_of_balance, undoes_opening

_RECENT_S = 60.0
_AT_SEAT = {
    PaymentWay.BEFORE: message("%(what)s at %(seat)s, %(amount)s: paid in cash."),
    PaymentWay.AFTER: message("%(what)s at %(seat)s, %(amount)s: to be paid."),
    PaymentWay.BALANCE: message("%(what)s at %(seat)s, %(amount)s: paid from the balance."),
}
_UNDONE = {
    True: message("Undone: %(seat)s is as it was before."),
    False: message("Undone: the %(minutes)s minutes at %(seat)s are taken back."),
}
_SOLD = {
    True: message("%(what)s, %(amount)s: paid in cash."),
    False: message("%(what)s, %(amount)s: given back in cash."),
}
_CASH = {True: message("%(amount)s: paid in cash."), False: message("%(amount)s: given back in cash.")}
_BALANCE = {True: message("%(amount)s: paid from the balance."), False: message("%(amount)s: back to the balance.")}


def done_text(entries: Sequence[CounterEntry], reader: Language) -> str:
    """Return the sentence about entries that were written at once, or an empty text if it has nothing to say."""
    first, currency = entries[0], next((each.currency for each in entries if each.currency), "")
    if first.action in (CounterAction.PAY, CounterAction.DEPOSIT):
        of_balance = [each for each in entries if each.action is CounterAction.PAY and is_of_balance(each)]
        cash = [each for each in entries if each not in of_balance and each.action is not CounterAction.CHARGE]
        sums = ((_BALANCE, sum(each.taken for each in of_balance)), (_CASH, sum(each.taken for each in cash)))
        return " ".join(
            reader.gettext(texts[amount > 0], amount=reader.money(abs(amount), currency))
            for texts, amount in sums
            if amount
        )
    if first.action is CounterAction.UNDO:
        text = _UNDONE[undoes_opening(first)]
        back = reader.money(-first.taken, currency) if first.taken else ""
        balance = sum(-each.taken for each in entries[1:] if each.action is CounterAction.PAY)
        said = [reader.gettext(text, seat=first.seat, minutes=first.minutes)]
        said += [reader.gettext(_CASH[False], amount=back)] if back else []
        said += [reader.gettext(_BALANCE[False], amount=reader.money(balance, currency))] if balance else []
        return " ".join(said)
    if first.action is CounterAction.ARTICLE:
        what = f"{reader.number(first.count)} × {first.note}"
    else:
        what = reader.gettext(message("%(minutes)s minutes"), minutes=first.minutes)
    if not first.due:
        return f"{first.seat}: {what}" if first.seat else what
    amount = reader.money(abs(first.due) if not first.seat else first.due, currency)
    if not first.seat:
        return reader.gettext(_SOLD[first.due >= 0], what=what, amount=amount)
    way = PaymentWay.BEFORE if first.taken == first.due else PaymentWay.AFTER
    if any(each.action is CounterAction.PAY and is_of_balance(each) for each in entries):
        way = PaymentWay.BALANCE
    return reader.gettext(_AT_SEAT[way], what=what, seat=first.seat, amount=amount)


def undo_of(entry: CounterEntry) -> Feedback:
    """Return the form that takes back the opening or the minutes of an entry."""
    fields = {"session": entry.session, "entry": f"{entry.id}", "once": secrets.token_hex(12)}
    return Feedback("", f"{COUNTER_PATH}/undo", fields)


def is_about_minutes(action: CounterAction, seat: str) -> Callable[[CounterEntry], bool]:
    """Return the test for entries about minutes at a seat, and the payments that were written with them."""
    return lambda entry: entry.seat == seat and entry.action in (action, CounterAction.PAY)


async def lead_to(
    context: PageContext,
    request: Request,
    caller: Caller,
    path: str,
    is_meant: Callable[[CounterEntry], bool],
    undo: Callable[[CounterEntry], Feedback] = lambda _entry: Feedback(""),
) -> Response:
    """Lead to a page that says what the caller's latest entries of this kind were about, with the form that undoes
    them.
    """
    now, store = context.clock(), CounterStore(context.reader.store)
    recent = await run_in_threadpool(store.entries, now - _RECENT_S, now + _RECENT_S, caller.actor)
    last = next((each for each in reversed(recent) if is_meant(each)), None)
    reader = language_of(request)
    meant = [] if last is None else [each for each in recent if each.at == last.at and is_meant(each)]
    undone = undo(meant[0]) if meant else Feedback("")
    text = (done_text(meant, reader) if meant else "") or reader.gettext(message("It is recorded."))
    return redirect_to(context.feedback.path(path, Feedback(text, undone.undo, undone.fields)))
