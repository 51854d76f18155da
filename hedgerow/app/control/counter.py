"""Prices, opening hours and limits at a café's counter, and the entries of what is done there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.journal.access_store import Voucher
from hedgerow.journal.counter import CounterAction, CounterEntry, CounterStore, balance
from hedgerow.policies.cafe import SEAT_PREFIX, CafeSettings, Payment, business_day, business_day_start, is_adult_kind, session_kinds
from hedgerow.policies.model import Device, Policy, Session

TOKEN_PREFIX, TOKEN_ROLE = "token ", "token"
"""Beginning of the names in which tokens act (`Accounts.principal_of_token`), and the role that all of them have."""


class CounterService:
    """The rules of the counter: limits of roles and prices. `role_of` returns the role of a person, empty for others.

    `lock` is held from a check until its entry is written, so that two at once do not both pass a limit.
    """

    def __init__(self, publisher: SnapshotPublisher, store: CounterStore, role_of: Callable[[str], str]) -> None:
        self._publisher, self.store, self._role_of = publisher, store, role_of
        self.lock = asyncio.Lock()

    @property
    def _policy(self) -> Policy:
        return self._publisher.policy

    @property
    def _cafe(self) -> CafeSettings:
        return self._policy.cafe

    def profile_of(self, kind: str) -> str:
        """Return the profile of a kind of session. Raises `InvalidInput`."""
        kinds = session_kinds(self._policy.profiles)
        if kind not in kinds:
            raise InvalidInput("There is no kind of session '%(kind)s': choose one of %(kinds)s.", kind=kind, kinds=", ".join(kinds))
        return SEAT_PREFIX + kind

    def open_minutes(self, device: Device, kind: str, minutes: float | None, now: float) -> float | None:
        """Return the minutes that a session can have before its seat closes. Raises `InvalidInput` if it is closed now."""
        view = self._publisher.view
        within = (minutes or 0) * 60
        session = Session("", device.id, "", now, profile=self.profile_of(kind))
        closing = view.rulesets.closing_after(device, now, within, session) if view is not None else None
        if closing is None:
            return minutes
        closed, at = closing
        if at > now:
            return (at - now) / 60
        until = (
            f"{datetime.fromtimestamp(closed.until, ZoneInfo(self._policy.network.timezone)):%H:%M}" if closed.until is not None else "?"
        )
        raise InvalidInput("Closed until %(time)s for this kind of session.", time=until)

    def opening(self, session: Session, kind: str, minutes: int, pays: str | None, voucher: Voucher | None) -> CounterEntry:
        """Return the entry of a new session. Raises `InvalidInput` beyond the limit of a role."""
        entry = CounterEntry(session.starts, session.actor, CounterAction.OPEN, session.device, session.id, kind, minutes)
        if voucher is not None:
            return _by_voucher(entry, voucher, self._cafe.currency)
        if self._is_adult(kind):
            self._check_limit(entry, "adult_sessions")
        payment = Payment(pays) if pays else self._cafe.pays
        return self._priced(entry, payment if minutes else Payment.AFTER)

    def extension(self, session: Session, actor: str, minutes: int, voucher: Voucher | None) -> CounterEntry:
        """Return the entry of minutes that are added to a session."""
        kind = kind_of(session)
        entry = CounterEntry(time.time(), actor, CounterAction.EXTEND, session.device, session.id, kind, minutes)
        if voucher is not None:
            return _by_voucher(entry, voucher, self._cafe.currency)
        return self._priced(entry, payment_of(self.store.of_session(session.id)))

    def ending(self, session: Session, actor: str, now: float) -> CounterEntry:
        """Return the entry of an end. Raises `InvalidInput` beyond the limit of a role.

        A guest who pays afterwards owes the price of the minutes that were used.
        """
        unused = max(0, int((session.ends - now) // 60)) if session.ends is not None else 0
        note = "" if session.ends is None else f"{session.ends:.0f}"
        kind = kind_of(session)
        entry = CounterEntry(now, actor, CounterAction.END, session.device, session.id, kind, unused, note=note)
        if unused:
            self._check_limit(entry, "early_ends")
        entries = self.store.of_session(session.id)
        if payment_of(entries) is not Payment.AFTER:
            return entry
        owed = sum(each.due for each in entries)
        if session.ends is None:
            due = self._cafe.session_price(kind, -(-int(now - session.starts) // 60))
        else:
            due = min(owed, self._cafe.session_price(kind, used_minutes(entries) - unused)) if unused else owed
        return replace(entry, due=due - owed, currency=self._cafe.currency)

    def reopening(self, session_id: str, actor: str) -> tuple[CounterEntry, float | None] | None:
        """Return the entry that undoes an end, and the instant at which the session ends again; None without such an end.

        Raises `InvalidInput` if the unused minutes were given away as a voucher.
        """
        entries = self.store.of_session(session_id)
        ends = [each for each in entries if each.action in (CounterAction.END, CounterAction.REOPEN)]
        if not ends or ends[-1].action is CounterAction.REOPEN:
            return None
        if any(each.action is CounterAction.CREDIT for each in entries):
            raise InvalidInput("A voucher was made for the rest of this session, so it cannot go on.")
        last = ends[-1]
        entry = replace(last, at=time.time(), actor=actor, action=CounterAction.REOPEN, due=-last.due, note="", id=0)
        return entry, float(last.note) if last.note else None

    def payment(self, session_id: str, actor: str) -> CounterEntry:
        """Return the entry of a payment for a session. Raises `InvalidInput` if there is nothing to pay."""
        entries = self.store.of_session(session_id)
        owed = balance(entries)
        if owed <= 0:
            raise InvalidInput("Nothing is left to pay for this session.")
        first = entries[0]
        return replace(first, at=time.time(), actor=actor, action=CounterAction.PAY, minutes=0, due=0, taken=owed, note="", id=0)

    def printing(self, kind: str, minutes: int, count: int, actor: str, is_paid: bool) -> CounterEntry:
        """Return the entry of new vouchers. Raises `InvalidInput` for an unknown kind, and beyond the limit of a role."""
        self.profile_of(kind)
        value = self._cafe.voucher_price(kind, minutes) * count
        entry = CounterEntry(time.time(), actor, CounterAction.PRINT, kind=kind, minutes=minutes, count=count, currency=self._cafe.currency)
        if self._is_adult(kind):
            self._check_limit(entry, "adult_vouchers")
        return replace(entry, due=value, taken=value if is_paid else 0)

    def crediting(self, session_id: str, actor: str) -> CounterEntry:
        """Return the entry of a voucher for the minutes that a guest has paid and not used. Raises `InvalidInput` if there are none."""
        entries = self.store.of_session(session_id)
        last = entries[-1] if entries else None
        if last is None or last.action is not CounterAction.END or not last.minutes or payment_of(entries) is Payment.AFTER:
            raise InvalidInput("This session has no minutes that were paid and not used.")
        return replace(last, at=time.time(), actor=actor, action=CounterAction.CREDIT, note="", id=0)

    def _priced(self, entry: CounterEntry, payment: Payment) -> CounterEntry:
        price = self._cafe.session_price(entry.kind, entry.minutes)
        taken = price if payment is Payment.BEFORE else 0
        return replace(entry, due=price, taken=taken, currency=self._cafe.currency, note=payment.value)

    def _is_adult(self, kind: str) -> bool:
        return is_adult_kind(kind, self._policy.profiles)

    def _check_limit(self, entry: CounterEntry, name: str) -> None:
        limits = self._cafe.roles.get(self._role_of(entry.actor))
        limit: int | None = getattr(limits, name) if limits is not None else None
        if limit is None:
            return
        kinds = [kind for kind in session_kinds(self._policy.profiles) if name == "early_ends" or self._is_adult(kind)]
        zone = ZoneInfo(self._policy.network.timezone)
        since = business_day_start(business_day(entry.at, zone), zone)
        done = self.store.count(entry.actor, entry.action, kinds, since)
        if entry.action is CounterAction.END:
            done -= self.store.count(entry.actor, CounterAction.REOPEN, kinds, since)
        if done + entry.count > limit:
            raise _refusal(name, limit=limit, name=entry.actor)


def role_finder(store: CounterStore, accounts: Accounts) -> Callable[[str], str]:
    """Return a function that returns the role of a member of staff, an account or a token, empty for others. It waits for the disk."""

    def role_of(name: str) -> str:
        roles = {row.name: row.role for row in accounts.accounts()} | {row.name: row.role for row in store.staff()}
        return roles.get(name, TOKEN_ROLE if name.startswith(TOKEN_PREFIX) else "")

    return role_of


def _refusal(limited: str, /, **values: object) -> InvalidInput:
    match limited:
        case "adult_sessions":
            return InvalidInput("%(name)s may open %(limit)s sessions for adults per day, not more.", **values)
        case "adult_vouchers":
            return InvalidInput("%(name)s may print %(limit)s vouchers for adults per day, not more.", **values)
        case _:
            return InvalidInput("%(name)s may end %(limit)s sessions early per day, not more.", **values)


def kind_of(session: Session) -> str:
    """Return the kind of a guest's session."""
    return (session.profile or "").removeprefix(SEAT_PREFIX)


def payment_of(entries: tuple[CounterEntry, ...]) -> Payment:
    """Return when the guest of a session pays, given its entries. Vouchers are paid before."""
    return Payment.AFTER if entries and entries[0].note == Payment.AFTER else Payment.BEFORE


def used_minutes(entries: tuple[CounterEntry, ...]) -> int:
    """Return the minutes that a session was given, from its entries."""
    given = (CounterAction.OPEN, CounterAction.EXTEND, CounterAction.REDEEM)
    return sum(each.minutes for each in entries if each.action in given)


def _by_voucher(entry: CounterEntry, voucher: Voucher, currency: str) -> CounterEntry:
    """Return the entry of a voucher's use. One that was printed to be sold later counts now."""
    price = 0 if voucher.is_paid else voucher.price
    return replace(entry, action=CounterAction.REDEEM, due=price, taken=price, currency=currency if price else "", note=voucher.serial)
