"""Rules of a café's counter: who may act, prices, opening hours, limits, and the entries of what is done there.

All that opens something at a seat asks here, whatever page, call or command it comes from: sessions, vouchers, and each
`AccessChange`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hedgerow.dashboards.accounts import COMMAND_LINE, Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.business_day import business_day, business_day_start
from hedgerow.features.cafe.counter_store import BEGINNINGS, CounterAction, CounterEntry, CounterStore, balance
from hedgerow.features.cafe.refusals import NobodyOnDuty
from hedgerow.features.cafe.session_entries import (
    due_at_end,
    given_minutes,
    opening_note,
    payment_of,
    session_due,
    tariff_of,
    unused_at_end,
    unused_minutes,
)
from hedgerow.features.cafe.settings import CafeSettings, cafe_of
from hedgerow.features.cafe.voucher_store import Voucher
from hedgerow.features.contract import Snapshots
from hedgerow.policies.model import Device, DeviceId, Policy, Session
from hedgerow.policies.seats import SEAT_PREFIX, Payment, is_adult_kind, session_kinds

TOKEN_PREFIX, TOKEN_ROLE = "token ", "token"
"""Beginning of the names in which tokens act (`Accounts.principal_of_token`), and the role that all of them have."""

VOUCHER_ACTOR = "a voucher"
_SCRIPTS = frozenset({COMMAND_LINE.name, VOUCHER_ACTOR})


class CounterRules:
    """Rules of who may act, opening hours, prices and limits, and the entries that follow from them.

    Methods read the journal, except `profile_of` and `open_minutes`: call them within a turn
    (`CounterService.in_turn`).
    """

    def __init__(self, snapshots: Snapshots, store: CounterStore, accounts: Accounts) -> None:
        self._snapshots, self.store, self._accounts = snapshots, store, accounts

    def check_actor(self, actor: str) -> None:
        """Raise `InvalidInput` if the café has staff and `actor` is nobody on duty. Scripts act in their own name."""
        if actor in _SCRIPTS or actor.startswith(TOKEN_PREFIX):
            return
        staff = {row.name for row in self.store.staff()}
        if staff and (actor not in staff or any(row.name == actor for row in self._accounts.accounts())):
            raise NobodyOnDuty("Nobody is on duty at this counter: enter your PIN first.")

    @property
    def _policy(self) -> Policy:
        return self._snapshots.policy

    @property
    def _cafe(self) -> CafeSettings:
        return cafe_of(self._policy)

    def profile_of(self, kind: str) -> str:
        """Return the profile of a kind of session. Raises `InvalidInput`."""
        kinds = session_kinds(self._policy.profiles)
        if kind not in kinds:
            raise InvalidInput(
                "There is no kind of session '%(kind)s': choose one of %(kinds)s.", kind=kind, kinds=", ".join(kinds)
            ).at("band")
        return SEAT_PREFIX + kind

    def open_minutes(self, device: Device, kind: str, minutes: float | None, now: float) -> float | None:
        """Return the minutes that a session can have before its seat closes.

        Raises `InvalidInput` if it is closed now.
        """
        view = self._snapshots.view
        within = (minutes or 0) * 60
        session = Session("", device.id, "", now, profile=self.profile_of(kind))
        closing = view.rulesets.closing_after(device, now, within, session) if view is not None else None
        if closing is None:
            return minutes
        closed, at = closing
        if at > now:
            return (at - now) / 60
        until = (
            f"{datetime.fromtimestamp(closed.until, ZoneInfo(self._policy.network.timezone)):%H:%M}"
            if closed.until is not None
            else "?"
        )
        raise InvalidInput(
            "Closed until %(time)s for this kind of session: choose another kind, or open the seat then.", time=until
        ).at("band")

    def opening(
        self, session: Session, kind: str, minutes: int, pays: Payment | None, voucher: Voucher | None
    ) -> CounterEntry:
        """Return the entry of a new session. Raises `InvalidInput` beyond the limit of a role."""
        entry = CounterEntry(
            session.starts, session.actor, CounterAction.OPEN, session.device, session.id, kind, minutes
        )
        tariff = self._cafe.tariff(kind)
        if voucher is not None:
            entry = _by_voucher(entry, voucher, self._cafe.currency)
            return replace(entry, note=opening_note(entry.note, tariff))
        if is_adult_kind(kind, self._policy.profiles):
            self._check_limit(entry, "adult_sessions")
        payment = (pays or self._cafe.pays) if minutes else Payment.AFTER
        entry = _priced(entry, payment, tariff.price(minutes), self._cafe.currency)
        return replace(entry, note=opening_note(payment.value, tariff))

    def extension(
        self, session: Session, actor: str, minutes: int, voucher: Voucher | None, pays: Payment | None = None
    ) -> CounterEntry:
        """Return the entry of minutes that are added to a session, paid as the session by default.

        All its minutes together cost what they would have cost at once, at the prices of its beginning.
        """
        kind = kind_of(session)
        entry = CounterEntry(time.time(), actor, CounterAction.EXTEND, session.device, session.id, kind, minutes)
        if voucher is not None:
            return _by_voucher(entry, voucher, self._cafe.currency)
        entries = self.store.of_session(session.id)
        price = tariff_of(entries, self._cafe.tariff(kind)).price_of_more(given_minutes(entries), minutes)
        return _priced(entry, pays or payment_of(entries), price, _currency_of(entries, self._cafe.currency))

    def ending(self, session: Session, actor: str, now: float) -> CounterEntry:
        """Return the entry of an end. Raises `InvalidInput` beyond the limit of a role.

        A guest who pays afterwards owes the price of the minutes that were used.
        """
        entries = self.store.of_session(session.id)
        unused = unused_at_end(entries, session, now)
        note = "" if session.ends is None else f"{session.ends:.0f}"
        kind = kind_of(session)
        entry = CounterEntry(now, actor, CounterAction.END, session.device, session.id, kind, unused, note=note)
        if unused:
            self._check_limit(entry, "early_ends")
        if payment_of(entries) is not Payment.AFTER:
            return entry
        due = due_at_end(entries, session, tariff_of(entries, self._cafe.tariff(kind)), now)
        return replace(entry, due=due - session_due(entries), currency=_currency_of(entries, self._cafe.currency))

    def reopening(self, session_id: str, actor: str) -> tuple[CounterEntry, float | None] | None:
        """Return the entry that undoes an end, and the instant at which the session ends again; None without such an
        end.

        Raises `InvalidInput` if the unused minutes were given away as a voucher.
        """
        self.check_actor(actor)
        entries = self.store.of_session(session_id)
        ends = [each for each in entries if each.action in (CounterAction.END, CounterAction.REOPEN)]
        if not ends or ends[-1].action is CounterAction.REOPEN:
            return None
        if any(each.action is CounterAction.CREDIT for each in entries):
            raise InvalidInput("A voucher was made for the rest of this session: the guest can go on with that.")
        last = ends[-1]
        entry = replace(
            last, at=time.time(), actor=actor, action=CounterAction.REOPEN, due=-last.due, note="", id=0, key=None
        )
        return entry, float(last.note) if last.note else None

    def undoing(self, given: CounterEntry, seat: DeviceId, actor: str) -> CounterEntry:
        """Return the entry that takes an opening, or minutes, back from a guest who sits at `seat` by now.

        It counts as an early end: raises `InvalidInput` beyond the limit of a role.
        """
        entry = CounterEntry(
            time.time(),
            actor,
            CounterAction.UNDO,
            seat,
            given.session,
            given.kind,
            given.minutes,
            due=-given.due,
            taken=-given.taken,
            currency=given.currency,
            note=given.action.value,
        )
        self._check_limit(entry, "early_ends")
        return entry

    def payment(self, session_id: str, actor: str) -> CounterEntry:
        """Return the entry of a payment for a session, or of what is given back to the guest.

        Raises `InvalidInput` if there is nothing to pay.
        """
        self.check_actor(actor)
        entries = self.store.of_session(session_id)
        owed = balance(entries) if any(each.action in BEGINNINGS for each in entries) else 0
        if not owed:
            raise InvalidInput("Nothing is left to pay for this session: it was settled meanwhile.")
        first = entries[0]
        return replace(
            first,
            at=time.time(),
            actor=actor,
            action=CounterAction.PAY,
            minutes=0,
            due=0,
            taken=owed,
            currency=next((each.currency for each in entries if each.currency), self._cafe.currency),
            note="",
            id=0,
            key=None,
        )

    def printing(self, kind: str, minutes: int, count: int, actor: str, is_paid: bool) -> CounterEntry:
        """Return the entry of new vouchers.

        Raises `InvalidInput` for an unknown kind, and beyond the limit of a role.
        """
        self.check_actor(actor)
        self.profile_of(kind)
        value = self._cafe.voucher_price(kind, minutes) * count
        entry = CounterEntry(
            time.time(),
            actor,
            CounterAction.PRINT,
            kind=kind,
            minutes=minutes,
            count=count,
            currency=self._cafe.currency,
        )
        if is_adult_kind(kind, self._policy.profiles):
            self._check_limit(entry, "adult_vouchers")
        return replace(entry, due=value, taken=value if is_paid else 0)

    def crediting(self, session_id: str, actor: str) -> CounterEntry:
        """Return the entry of a voucher for the minutes that a guest has paid and not used.

        Raises `InvalidInput` if there are none.
        """
        self.check_actor(actor)
        entries = self.store.of_session(session_id)
        minutes = unused_minutes(entries)
        if not minutes:
            raise InvalidInput("This session has no minutes that were paid and not used.")
        last = next(each for each in reversed(entries) if each.action is CounterAction.END)
        return replace(last, at=time.time(), actor=actor, action=CounterAction.CREDIT, note="", id=0, key=None)

    def _check_limit(self, entry: CounterEntry, name: str) -> None:
        limits = self._cafe.roles.get(_role_of(entry.actor, self.store, self._accounts))
        limit: int | None = getattr(limits, name) if limits is not None else None
        if limit is None:
            return
        kinds = [
            kind
            for kind in session_kinds(self._policy.profiles)
            if name == "early_ends" or is_adult_kind(kind, self._policy.profiles)
        ]
        zone = ZoneInfo(self._policy.network.timezone)
        since = business_day_start(business_day(entry.at, zone), zone)
        match name:
            case "adult_sessions":
                done = self.store.count(entry.actor, CounterAction.OPEN, kinds, since)
                done += self.store.count(entry.actor, CounterAction.ALLOW_ADULT, None, since)
            case "adult_vouchers":
                done = self.store.count(entry.actor, CounterAction.PRINT, kinds, since)
            case _:
                done = self.store.count(entry.actor, CounterAction.END, kinds, since)
                done -= self.store.count(entry.actor, CounterAction.REOPEN, kinds, since)
                done += self.store.count(entry.actor, CounterAction.UNDO, kinds, since)
        if done + entry.count > limit:
            raise _refusal(name, limit=limit, name=entry.actor).at("band")


def _role_of(name: str, store: CounterStore, accounts: Accounts) -> str:
    """Return the role of a member of staff, an account or a token, empty for others."""
    roles = {row.name: row.role for row in accounts.accounts()} | {row.name: row.role for row in store.staff()}
    return roles.get(name, TOKEN_ROLE if name.startswith(TOKEN_PREFIX) else "")


def _refusal(limited: str, /, **values: object) -> InvalidInput:
    match limited:
        case "adult_sessions":
            return InvalidInput(
                "%(name)s may open %(limit)s sessions for adults per day: somebody else has to take over.", **values
            )
        case "adult_vouchers":
            return InvalidInput(
                "%(name)s may print %(limit)s vouchers for adults per day: somebody else has to take over.", **values
            )
        case _:
            return InvalidInput(
                "%(name)s may end %(limit)s sessions early per day: somebody else has to take over.", **values
            )


def key_of(request: str, action: CounterAction, target: str = "") -> str | None:
    """Return the key of a request by the id that the client gave it, None without one. The same id may serve for
    different actions.

    >>> key_of("", CounterAction.OPEN) is None
    True
    >>> key_of("7", CounterAction.OPEN, "seat-1") == key_of("7", CounterAction.OPEN, "seat-2")
    False
    """
    return hashlib.sha256(f"{request}\n{action}\n{target}".encode()).hexdigest() if request else None


def kind_of(session: Session) -> str:
    """Return the kind of a guest's session."""
    return (session.profile or "").removeprefix(SEAT_PREFIX)


def _priced(entry: CounterEntry, payment: Payment, price: int, currency: str) -> CounterEntry:
    taken = price if payment is Payment.BEFORE else 0
    return replace(entry, due=price, taken=taken, currency=currency, note=payment.value)


def _currency_of(entries: tuple[CounterEntry, ...], current: str) -> str:
    """Return the currency of a session, which is that of its beginning."""
    return (entries[0].currency if entries else "") or current


def _by_voucher(entry: CounterEntry, voucher: Voucher, currency: str) -> CounterEntry:
    """Return the entry of a voucher's use. One that was printed to be sold later counts now."""
    price = 0 if voucher.is_paid else voucher.price
    return replace(
        entry,
        action=CounterAction.REDEEM,
        due=price,
        taken=price,
        currency=currency if price else "",
        note=voucher.serial,
    )
