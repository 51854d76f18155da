"""Rules of a café's counter: who may act, prices, opening hours, limits, and the entries of what is done there.

All that opens something at a seat asks here, whatever page, call or command it comes from: sessions, vouchers, and each
`SeatChange`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.dashboards.accounts import COMMAND_LINE, Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.journal.access_store import Voucher
from hedgerow.journal.counter import CounterAction, CounterEntry, CounterStore, balance
from hedgerow.policies.cafe import (
    SEAT_PREFIX,
    CafeSettings,
    Payment,
    business_day,
    business_day_start,
    is_adult_kind,
    session_kinds,
)
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.model import Device, DeviceId, Policy, Session

TOKEN_PREFIX, TOKEN_ROLE = "token ", "token"
"""Beginning of the names in which tokens act (`Accounts.principal_of_token`), and the role that all of them have."""

VOUCHER_ACTOR = "a voucher"
PAUSED_SESSION = "the session's time stands still"
"""Note of a pause for which a session lasts longer."""

_SCRIPTS = frozenset({COMMAND_LINE.name, VOUCHER_ACTOR})


@dataclass(frozen=True, slots=True)
class SeatChange:
    """A change that may open something at a seat outside its session: a grant, a pause, its end, or minutes for a
    budget.

    Without a device it is for everybody. `dangers` are the topics of `subject` that are kept from children.
    """

    action: CounterAction
    actor: str
    device: Device | None
    subject: str = ""
    dangers: tuple[str, ...] = ()
    minutes: int = 0


class CounterRules:
    """Rules of who may act, opening hours, prices and limits, and the entries that follow from them.

    Methods read the journal, except `profile_of` and `open_minutes`: call them within a turn
    (`CounterService.in_turn`).
    """

    def __init__(self, publisher: SnapshotPublisher, store: CounterStore, accounts: Accounts) -> None:
        self._publisher, self.store, self._accounts = publisher, store, accounts

    def check_actor(self, actor: str) -> None:
        """Raise `InvalidInput` if the café has staff and `actor` is nobody on duty. Scripts act in their own name."""
        if actor in _SCRIPTS or actor.startswith(TOKEN_PREFIX):
            return
        staff = {row.name for row in self.store.staff()}
        if staff and (actor not in staff or any(row.name == actor for row in self._accounts.accounts())):
            raise InvalidInput("Nobody is on duty at this counter: enter your PIN first.")

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
            raise InvalidInput(
                "There is no kind of session '%(kind)s': choose one of %(kinds)s.", kind=kind, kinds=", ".join(kinds)
            )
        return SEAT_PREFIX + kind

    def open_minutes(self, device: Device, kind: str, minutes: float | None, now: float) -> float | None:
        """Return the minutes that a session can have before its seat closes.

        Raises `InvalidInput` if it is closed now.
        """
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
            f"{datetime.fromtimestamp(closed.until, ZoneInfo(self._policy.network.timezone)):%H:%M}"
            if closed.until is not None
            else "?"
        )
        raise InvalidInput("Closed until %(time)s for this kind of session.", time=until)

    def opening(
        self, session: Session, kind: str, minutes: int, pays: str | None, voucher: Voucher | None
    ) -> CounterEntry:
        """Return the entry of a new session. Raises `InvalidInput` beyond the limit of a role."""
        entry = CounterEntry(
            session.starts, session.actor, CounterAction.OPEN, session.device, session.id, kind, minutes
        )
        if voucher is not None:
            return _by_voucher(entry, voucher, self._cafe.currency)
        if is_adult_kind(kind, self._policy.profiles):
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
            raise InvalidInput("A voucher was made for the rest of this session, so it cannot go on.")
        last = ends[-1]
        entry = replace(
            last, at=time.time(), actor=actor, action=CounterAction.REOPEN, due=-last.due, note="", id=0, key=None
        )
        return entry, float(last.note) if last.note else None

    def payment(self, session_id: str, actor: str) -> CounterEntry:
        """Return the entry of a payment for a session. Raises `InvalidInput` if there is nothing to pay."""
        self.check_actor(actor)
        entries = self.store.of_session(session_id)
        owed = balance(entries)
        if owed <= 0:
            raise InvalidInput("Nothing is left to pay for this session.")
        first = entries[0]
        return replace(
            first,
            at=time.time(),
            actor=actor,
            action=CounterAction.PAY,
            minutes=0,
            due=0,
            taken=owed,
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
        last = entries[-1] if entries else None
        if (
            last is None
            or last.action is not CounterAction.END
            or not last.minutes
            or payment_of(entries) is Payment.AFTER
        ):
            raise InvalidInput("This session has no minutes that were paid and not used.")
        return replace(last, at=time.time(), actor=actor, action=CounterAction.CREDIT, note="", id=0, key=None)

    def _priced(self, entry: CounterEntry, payment: Payment) -> CounterEntry:
        price = self._cafe.session_price(entry.kind, entry.minutes)
        taken = price if payment is Payment.BEFORE else 0
        return replace(entry, due=price, taken=taken, currency=self._cafe.currency, note=payment.value)

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
        if done + entry.count > limit:
            raise _refusal(name, limit=limit, name=entry.actor)


class CounterService(CounterRules):
    """The counter: one thing after the other, and the rule for what is changed at a seat outside its session.

    Methods that are not `async` read the journal: call them within `in_turn`.
    """

    def __init__(self, publisher: SnapshotPublisher, store: CounterStore, accounts: Accounts) -> None:
        super().__init__(publisher, store, accounts)
        self._lock = asyncio.Lock()

    async def in_turn[Result](self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread while nothing else happens at the counter, here or at another node.

        What it reads from the journal is still so when it writes: no seat is opened twice, and no limit passed by two
        at once.
        """

        def alone() -> Result:
            with self.store.turn():
                return work()

        async with self._lock:
            return await asyncio.to_thread(alone)

    def done_before(self, key: str | None) -> CounterEntry | None:
        """Return the entry of a request that was carried out already, or None."""
        return self.store.with_key(key) if key is not None else None

    def session_at(self, seat: DeviceId, now: float) -> Session | None:
        """Return the session in force at a seat, as the journal has it."""
        return next((each for each in reversed(self._publisher.usage.sessions(now)) if each.device == seat), None)

    def concerns_seats(self, device: Device | None) -> bool:
        """Return whether a change for a device, or for everybody, has an effect at a seat."""
        users = EffectiveUsers(self._policy)
        return users.has_seats if device is None else users.is_at_seat(device)

    async def check(self, wanted: SeatChange | None) -> None:
        """Raise `InvalidInput` if a change that concerns a seat would be refused now."""
        await self.change(wanted, lambda *_entries: None)

    async def change[Result](self, wanted: SeatChange | None, write: Callable[..., Result]) -> Result:
        """Call `write` in a thread, with the counter's entry about the change if it concerns a seat.

        Raises `InvalidInput`.
        """
        if wanted is None or not self.concerns_seats(wanted.device):
            return await asyncio.to_thread(write)
        return await self.in_turn(lambda: write(self.entry_of(wanted)))

    def entry_of(self, wanted: SeatChange) -> CounterEntry:
        """Return the entry of a change at a seat, or for everybody. Every one of them has to pass this rule.

        Somebody is on duty. A child's seat gets nothing that is kept from children, and an adult's seat gets it as an
        opening for an adult, within the limits of those. Raises `InvalidInput`.
        """
        self.check_actor(wanted.actor)
        now, seat = time.time(), wanted.device
        session = self.session_at(seat.id, now) if seat is not None else None
        profile = (session.profile if session is not None else None) or (seat.profile if seat is not None else "")
        kind = profile.removeprefix(SEAT_PREFIX) if profile.startswith(SEAT_PREFIX) else ""
        entry = CounterEntry(
            now,
            wanted.actor,
            wanted.action,
            seat=seat.id if seat is not None else "",
            session=session.id if session is not None else "",
            kind=kind,
            minutes=wanted.minutes,
            note=wanted.subject,
        )
        if wanted.action is not CounterAction.ALLOW or not wanted.dangers:
            return entry
        profiles = [profile] if seat is None or seat.known else [profile, self._policy.network.unknown_devices]
        if seat is not None and any(self._policy.profiles[each].is_for_children for each in profiles):
            raise InvalidInput(
                "%(what)s is kept from children: it can't be opened at a child's seat.", what=wanted.subject
            )
        entry = replace(entry, action=CounterAction.ALLOW_ADULT)
        self._check_limit(entry, "adult_sessions")
        return entry

    def lift_pauses(self, seat: Device, actor: str) -> float:
        """End the pauses of a seat or shared device.

        Returns the seconds of its session that they had added and that are taken away.
        """
        now, here, unused = time.time(), self.session_at(seat.id, time.time()), 0.0
        entry = self.entry_of(SeatChange(CounterAction.RESUME, actor, seat))
        for pause in self._publisher.reader.pauses(now):
            if pause.device != seat.id:
                continue
            self._publisher.ledger.resume(actor, *([entry] if self.concerns_seats(seat) else []), device=seat.id)
            if pause.note == PAUSED_SESSION and pause.ends is not None and here is not None and here.ends is not None:
                self._publisher.usage.extend_session(seat.id, now - pause.ends)
                unused += pause.ends - now
        return unused


def _role_of(name: str, store: CounterStore, accounts: Accounts) -> str:
    """Return the role of a member of staff, an account or a token, empty for others."""
    roles = {row.name: row.role for row in accounts.accounts()} | {row.name: row.role for row in store.staff()}
    return roles.get(name, TOKEN_ROLE if name.startswith(TOKEN_PREFIX) else "")


def _refusal(limited: str, /, **values: object) -> InvalidInput:
    match limited:
        case "adult_sessions":
            return InvalidInput("%(name)s may open %(limit)s sessions for adults per day, not more.", **values)
        case "adult_vouchers":
            return InvalidInput("%(name)s may print %(limit)s vouchers for adults per day, not more.", **values)
        case _:
            return InvalidInput("%(name)s may end %(limit)s sessions early per day, not more.", **values)


def key_of(request: str, action: CounterAction, target: str = "") -> str | None:
    """Return the key of a request by the id that the client gave it, None without one.

    The same id may serve for different actions.

    >>> (key_of("", CounterAction.OPEN) is None,
    ...  key_of("7", CounterAction.OPEN, "seat-1") == key_of("7", CounterAction.OPEN, "seat-2"))
    (True, False)
    """
    return hashlib.sha256(f"{request}\n{action}\n{target}".encode()).hexdigest() if request else None


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
    return replace(
        entry,
        action=CounterAction.REDEEM,
        due=price,
        taken=price,
        currency=currency if price else "",
        note=voucher.serial,
    )
