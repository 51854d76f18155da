"""Sessions at seats, and at shared devices where there are seats, on behalf of the people in charge."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace

from hedgerow.app.control.access_rule import AccessChange, ChangeKind
from hedgerow.app.control.sessions import PAUSED_SESSION, check_order, device_called, start_at_shared
from hedgerow.dashboards.actions.orders import ExtendOrder, PaymentWay, SeatOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.members import Members, members_of
from hedgerow.features.cafe.refusals import AlreadyDone, NoSession, SeatTaken
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.voucher_store import Voucher
from hedgerow.features.contract import Core, Snapshots
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import JournalEntry
from hedgerow.policies.model import Device, Session
from hedgerow.policies.seats import Payment
from hedgerow.policies.text.locales import message


@dataclass(frozen=True, slots=True)
class GuestOrder:
    """A session that a guest wants at a seat. It may end the one with the id `replaces`.

    `pays` is before or after, None for what the policy says. It is paid from the balance of the `member` at once, if
    there is one. `key` is that of the request, if it has one.
    """

    kind: str
    minutes: float | None
    name: str = ""
    pays: Payment | None = None
    member: int | None = None
    replaces: str = ""
    key: str | None = None

    @classmethod
    def of(cls, order: SeatOrder, kind: str, minutes: float | None, key: str | None) -> GuestOrder:
        """Return that of an order with the minutes that its seat is open. Raises `InvalidInput`."""
        pays, member = _way_to_pay(order)
        if pays is PaymentWay.BALANCE and member is None:
            raise InvalidInput("Choose the member who pays.").at("member")
        if member is not None and minutes is None:
            raise InvalidInput("A balance pays for minutes: say how many.").at("minutes")
        return cls(kind, minutes, order.name, _payment(pays), member, order.replaces, key)


def _way_to_pay(order: SeatOrder | ExtendOrder) -> tuple[PaymentWay | None, int | None]:
    """Return how an order is paid, and the number of the member who pays. One who is named alone pays."""
    if order.pays is None and order.member is not None:
        return PaymentWay.BALANCE, order.member
    return order.pays, order.member if order.pays is PaymentWay.BALANCE else None


def _payment(pays: PaymentWay | None) -> Payment | None:
    """Return when a guest pays. What a balance pays for is taken back to it if it is not used, as if paid after."""
    if pays is None:
        return None
    return Payment.BEFORE if pays is PaymentWay.BEFORE else Payment.AFTER


class SeatSessions:
    """Sessions as the journal has them, and the steps that begin, change and end them within a turn at the counter."""

    def __init__(self, snapshots: Snapshots, counter: CounterService, members: Members) -> None:
        self._snapshots, self._counter, self.counter, self._members = snapshots, counter, counter, members

    def sign_in(self, device: Device, actor: str, order: SeatOrder) -> Session:
        """Sign a person in at a shared device, within a turn at the counter."""
        self._counter.check_actor(actor)
        return start_at_shared(self._snapshots, device, actor, order)

    def start_in_turn(self, seat: Device, actor: str, guest: GuestOrder, voucher: Voucher | None = None) -> Session:
        """Open a seat, within a turn at the counter.

        Raises `SeatTaken` if there is a session that the guest is not to replace.
        """
        now, counter, minutes = time.time(), self._counter, guest.minutes
        counter.check_actor(actor)
        if (done := counter.done_before(guest.key)) is not None:
            return self._opened_before(done, now)
        profile = counter.profile_of(guest.kind)
        session = Session(
            secrets.token_hex(6),
            seat.id,
            actor,
            now,
            now + minutes * 60 if minutes else None,
            None,
            profile,
            guest.name,
        )
        before = counter.session_at(seat.id, now)
        if before is not None and before.id != guest.replaces:
            taken = SeatTaken(
                "%(seat)s is taken: end the session there, or confirm that this one takes its place.", seat=seat.id
            )
            taken.more = {"confirm": "replaces", "session": before.id}
            raise taken
        entry = replace(counter.opening(session, guest.kind, int(minutes or 0), guest.pays, voucher), key=guest.key)
        entries: list[JournalEntry] = [] if before is None else [counter.ending(before, actor, now)]
        entries += [entry, *([] if guest.member is None else self._members.payment(guest.member, entry))]
        self._snapshots.ledger.clear(seat.id, actor)
        self._snapshots.usage.start_session(session, *entries)
        return session

    def _opened_before(self, done: CounterEntry, now: float) -> Session:
        session = self._counter.store.session(done.session)
        if session is None or (session.ends is not None and session.ends <= now):
            raise AlreadyDone("This was done already, and the session is over by now: load the page again.")
        return session

    def end_in_turn(self, device: Device, actor: str, key: str | None) -> Session | None:
        """End the session at a device, within a turn at the counter.

        None if an earlier request did so and it is no longer known.
        """
        now, counter = time.time(), self._counter
        counter.check_actor(actor)
        if (done := counter.done_before(key)) is not None:
            return self._counter.store.session(done.session)
        here = counter.session_at(device.id, now)
        if here is None:
            if device.is_seat:
                raise NoSession.at_seat(device.id)
            raise NoSuchEntry(f"there is no session at {device.id}")
        if not device.is_seat:
            self._snapshots.usage.end_session(device.id)
            return here
        unused = counter.lift_pauses(device, actor)  # the pause is not for the next guest, nor is its time unused
        if here.ends is not None:
            here = replace(here, ends=here.ends - unused)
        entry = replace(counter.ending(here, actor, time.time()), key=key)
        self._snapshots.usage.end_session(device.id, entry)
        self._snapshots.ledger.clear(device.id, "the end of the session")
        return here

    def extend_in_turn(
        self, device: Device, order: ExtendOrder, actor: str, key: str | None, voucher: Voucher | None = None
    ) -> None:
        """Add minutes to the session at a device, within a turn at the counter."""
        if self._counter.done_before(key) is not None:
            return
        self._counter.check_actor(actor)
        here = self._counter.session_at(device.id, time.time())
        entries: list[JournalEntry] = []
        if device.is_seat:
            if here is None:
                raise NoSession.at_seat(device.id)
            pays, member = (None, None) if voucher is not None else self._payer_of_more(here, order)
            entry = self._counter.extension(here, actor, int(order.minutes), voucher, _payment(pays))
            entries = [replace(entry, key=key), *([] if member is None else self._members.payment(member, entry))]
        self._snapshots.usage.extend_session(device.id, order.minutes * 60, *entries)

    def _payer_of_more(self, session: Session, order: ExtendOrder) -> tuple[PaymentWay | None, int | None]:
        """Return how minutes on top of a session are paid, and the number of the member who pays."""
        pays, member = _way_to_pay(order)
        if member is None and pays in (None, PaymentWay.BALANCE):
            payer = self._members.payer(self._counter.store.of_session(session.id))
            if payer is not None:
                return PaymentWay.BALANCE, payer.number
            if pays is not None:
                raise InvalidInput("Choose the member who pays.").at("member")
        return pays, member

    def _device(self, name: str) -> Device:
        return device_called(name, self._snapshots.policy)


class SessionService(SeatSessions):
    """The part of `TimeControl` that begins, changes and ends sessions. Those of seats are written by `counter`."""

    async def start_session(self, device: str, order: SeatOrder, *, actor: str, request: str = "") -> Session:
        found, band = self._device(device), order.band
        check_order(found, order)
        if band is None:
            session = await self._counter.in_turn(lambda: self.sign_in(found, actor, order))
        else:
            allowed = self._counter.open_minutes(found, band, order.minutes, time.time())
            guest = GuestOrder.of(order, band, allowed, key_of(request, CounterAction.OPEN, found.id))
            session = await self._counter.in_turn(lambda: self.start_in_turn(found, actor, guest))
        await self._snapshots.put_in_force()
        return session

    async def end_session(self, device: str, *, actor: str, request: str = "") -> Session | None:
        found = self._device(device)
        key = key_of(request, CounterAction.END, found.id)
        ended = await self._counter.in_turn(lambda: self.end_in_turn(found, actor, key))
        await self._snapshots.put_in_force()
        return ended

    async def extend_session(self, device: str, order: ExtendOrder, *, actor: str, request: str = "") -> None:
        found = self._device(device)
        key = key_of(request, CounterAction.EXTEND, f"{found.id} {order.minutes:g}")
        await self._counter.in_turn(lambda: self.extend_in_turn(found, order, actor, key))
        await self._snapshots.put_in_force()

    async def move_session(self, device: str, to: str, *, actor: str, request: str = "") -> None:
        source, target = self._device(device), self._device(to)
        if not (source.is_seat and target.is_seat):
            raise InvalidInput("Only guests at seats can move, and only to another seat.")
        key = key_of(request, CounterAction.MOVE, f"{source.id} {target.id}")

        def move() -> None:
            if self._counter.done_before(key) is None:
                now = time.time()
                if self._counter.session_at(source.id, now) is None:
                    raise NoSession.at_seat(source.id)
                if self._counter.session_at(target.id, now) is not None:
                    raise InvalidInput("%(seat)s is taken: choose a free seat.", seat=target.id).at("to")
                entry = self._counter.entry_of(_change(actor, source, target.id), CounterAction.MOVE)
                self._snapshots.usage.move_session(source.id, target.id, replace(entry, key=key))
                self._snapshots.ledger.move(source.id, target.id)

        await self._counter.in_turn(move)
        await self._snapshots.put_in_force()

    async def pause_session(self, device: str, minutes: float, *, actor: str, request: str = "") -> None:
        found = self._device(device)
        key = key_of(request, CounterAction.PAUSE, found.id)

        def pause() -> None:
            if self._counter.done_before(key) is not None:
                return
            now = time.time()
            if any(each.device == found.id for each in self._snapshots.reader.pauses(now)):
                raise InvalidInput("%(device)s is paused already.", device=device)
            if found.is_seat and self._counter.session_at(found.id, now) is None:
                raise NoSession.at_seat(found.id)
            entry = replace(
                self._counter.entry_of(AccessChange(kind=ChangeKind.PAUSE, actor=actor, device=found)), key=key
            )
            self._snapshots.usage.extend_session(found.id, minutes * 60, *([entry] if found.is_seat else []))
            self._snapshots.ledger.pause(actor, device=found.id, ends=now + minutes * 60, note=PAUSED_SESSION)

        await self._counter.in_turn(pause)
        await self._snapshots.put_in_force()

    async def resume_session(self, device: str, *, actor: str) -> None:
        found = self._device(device)
        await self._counter.in_turn(lambda: self._counter.lift_pauses(found, actor))
        await self._snapshots.put_in_force()

    async def reopen_session(self, session_id: str, ends: float | None, *, actor: str, request: str = "") -> None:
        key = key_of(request, CounterAction.REOPEN, session_id)

        def reopen() -> None:
            if self._counter.done_before(key) is not None:
                return
            undone = self._counter.reopening(session_id, actor)
            if undone is None:
                self._snapshots.usage.reopen_session(session_id, ends)
                return
            entry, before = undone  # at a seat, the end is that of before, whatever the form says
            try:
                self._snapshots.usage.reopen_session(session_id, before, replace(entry, key=key))
            except NoSuchEntry:
                text = message(
                    "That end can't be undone any more: it is too long ago, or %(seat)s is taken. Open a free seat."
                )
                raise NoSession(text, seat=entry.seat) from None

        await self._counter.in_turn(reopen)
        await self._snapshots.put_in_force()


def _change(actor: str, seat: Device, subject: str) -> AccessChange:
    return AccessChange(kind=ChangeKind.ALLOW, actor=actor, device=seat, subject=subject)


def seat_sessions_of(core: Core) -> SessionService:
    """Make the part of control for sessions."""
    return SessionService(core.snapshots, core.part(counter_of), core.part(members_of))
