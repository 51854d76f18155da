"""Sessions at seats, and at shared devices where there are seats, on behalf of the people in charge."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace

from hedgerow.app.control.access_rule import AccessChange, ChangeKind
from hedgerow.app.control.sessions import PAUSED_SESSION, check_order, device_called, start_at_shared
from hedgerow.dashboards.actions.orders import SeatOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.refusals import AlreadyDone, SeatTaken
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.voucher_store import Voucher
from hedgerow.features.contract import Core, Snapshots
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.model import Device, Session


@dataclass(frozen=True, slots=True)
class GuestOrder:
    """A session that a guest wants at a seat. It may end the one with the id `replaces`.

    `key` is that of the request, if it has one.
    """

    kind: str
    minutes: float | None
    name: str = ""
    pays: str | None = None
    replaces: str = ""
    key: str | None = None


class SeatSessions:
    """Sessions as the journal has them, and the steps that begin, change and end them within a turn at the counter."""

    def __init__(self, snapshots: Snapshots, counter: CounterService) -> None:
        self._snapshots, self._counter, self.counter = snapshots, counter, counter

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
        entries = [entry] if before is None else [counter.ending(before, actor, now), entry]
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
        self, device: Device, minutes: float, actor: str, key: str | None, voucher: Voucher | None = None
    ) -> None:
        """Add minutes to the session at a device, within a turn at the counter."""
        if self._counter.done_before(key) is not None:
            return
        self._counter.check_actor(actor)
        here = self._counter.session_at(device.id, time.time())
        entries: list[CounterEntry] = []
        if device.is_seat and here is not None:
            entries = [replace(self._counter.extension(here, actor, int(minutes), voucher), key=key)]
        self._snapshots.usage.extend_session(device.id, minutes * 60, *entries)

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
            guest = GuestOrder(
                band, allowed, order.name, order.pays, order.replaces, key_of(request, CounterAction.OPEN, found.id)
            )
            session = await self._counter.in_turn(lambda: self.start_in_turn(found, actor, guest))
        await self._snapshots.put_in_force()
        return session

    async def end_session(self, device: str, *, actor: str, request: str = "") -> Session | None:
        found = self._device(device)
        key = key_of(request, CounterAction.END, found.id)
        ended = await self._counter.in_turn(lambda: self.end_in_turn(found, actor, key))
        await self._snapshots.put_in_force()
        return ended

    async def extend_session(self, device: str, minutes: float, *, actor: str, request: str = "") -> None:
        found = self._device(device)
        key = key_of(request, CounterAction.EXTEND, f"{found.id} {minutes:g}")
        await self._counter.in_turn(lambda: self.extend_in_turn(found, minutes, actor, key))
        await self._snapshots.put_in_force()

    async def move_session(self, device: str, to: str, *, actor: str, request: str = "") -> None:
        source, target = self._device(device), self._device(to)
        if not (source.is_seat and target.is_seat):
            raise InvalidInput("Only guests at seats can move, and only to another seat.")
        key = key_of(request, CounterAction.MOVE, f"{source.id} {target.id}")

        def move() -> None:
            if self._counter.done_before(key) is None:
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
            self._snapshots.usage.reopen_session(session_id, before, replace(entry, key=key))

        await self._counter.in_turn(reopen)
        await self._snapshots.put_in_force()


def _change(actor: str, seat: Device, subject: str) -> AccessChange:
    return AccessChange(kind=ChangeKind.ALLOW, actor=actor, device=seat, subject=subject)


def seat_sessions_of(core: Core) -> SessionService:
    """Make the part of control for sessions."""
    return SessionService(core.snapshots, core.part(counter_of))
