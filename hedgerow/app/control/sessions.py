"""Sessions at seats and shared devices, on behalf of the people in charge."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from hedgerow.app.control.counter import CounterService, kind_of
from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.dashboards.control import InvalidInput
from hedgerow.journal.access_store import NoSuchEntry, Voucher
from hedgerow.journal.counter import CounterAction, CounterEntry
from hedgerow.policies.model import Device, DeviceId, Pause, Policy, Session


class SessionService:
    """The part of `dashboards.api.time.TimeControl` that begins, changes and ends sessions. Those of seats are written by `counter`."""

    def __init__(self, publisher: SnapshotPublisher, counter: CounterService) -> None:
        self._publisher, self._counter = publisher, counter

    def sessions(self) -> tuple[Session, ...]:
        view = self._publisher.view
        now = time.time()
        return tuple(each for each in view.rulesets.sessions if each.ends is None or each.ends > now) if view is not None else ()

    async def start_session(
        self, device: str, actor: str, *, person: str | None, band: str | None, minutes: float | None, name: str,
        pays: str | None = None, voucher: Voucher | None = None,
    ) -> Session:  # fmt: skip
        found = self._device(device)
        if found.is_seat == (person is not None) or (band is None) == (person is None):
            if found.is_seat:
                raise InvalidInput("%(device)s is a seat: choose whether a child or an adult is sitting there.", device=device)
            raise InvalidInput("%(device)s is not a seat: choose which of its people is signing in.", device=device)
        if person is not None and person not in found.sharers:
            raise InvalidInput("%(person)s does not share %(device)s.", device=device, person=person)
        now = time.time()
        if band is None:
            session = Session(secrets.token_hex(6), found.id, actor, now, now + minutes * 60 if minutes else None, person, None, name)
            await asyncio.to_thread(self._publisher.usage.start_session, session)
        else:
            session = await self._start_at_seat(found, actor, band, minutes, name, pays, voucher)
        await self._publisher.put_in_force()
        return session

    async def _start_at_seat(
        self, seat: Device, actor: str, kind: str, minutes: float | None, name: str, pays: str | None, voucher: Voucher | None
    ) -> Session:
        now, counter = time.time(), self._counter
        profile = counter.profile_of(kind)
        minutes = counter.open_minutes(seat, kind, minutes, now)
        session = Session(secrets.token_hex(6), seat.id, actor, now, now + minutes * 60 if minutes else None, None, profile, name)
        before = session_at(self.sessions(), seat.id)
        async with counter.lock:
            entry = await asyncio.to_thread(counter.opening, session, kind, int(minutes or 0), pays, voucher)
            entries = [entry] if before is None else [await asyncio.to_thread(counter.ending, before, actor, now), entry]
            await asyncio.to_thread(self._publisher.ledger.clear, seat.id, actor)
            await asyncio.to_thread(self._publisher.usage.start_session, session, *entries)
        return session

    async def end_session(self, device: str, actor: str) -> None:
        found = self._device(device)
        if not found.is_seat:
            await asyncio.to_thread(self._publisher.usage.end_session, found.id)
            await self._publisher.put_in_force()
            return
        here = session_at(self.sessions(), found.id)
        if here is None:
            raise NoSuchEntry(f"there is no session at {device}")
        unused = await self._resume(found.id, actor)  # the pause is not for the next guest, nor is its time unused
        if here.ends is not None:
            here = replace(here, ends=here.ends - unused)
        async with self._counter.lock:
            entry = await asyncio.to_thread(self._counter.ending, here, actor, time.time())
            await asyncio.to_thread(self._publisher.usage.end_session, found.id, entry)
        await asyncio.to_thread(self._publisher.ledger.clear, found.id, "the end of the session")
        await self._publisher.put_in_force()

    async def extend_session(self, device: str, minutes: float, actor: str, voucher: Voucher | None = None) -> None:
        found = self._device(device)
        here = session_at(self.sessions(), found.id)
        entries: list[CounterEntry] = []
        if found.is_seat and here is not None:
            entries = [await asyncio.to_thread(self._counter.extension, here, actor, int(minutes), voucher)]
        await asyncio.to_thread(self._publisher.usage.extend_session, found.id, minutes * 60, *entries)
        await self._publisher.put_in_force()

    async def move_session(self, device: str, to: str, actor: str) -> None:
        source, target = self._device(device), self._device(to)
        if not (source.is_seat and target.is_seat):
            raise InvalidInput("Only guests at seats can move, and only to another seat.")
        entry = _entry(session_at(self.sessions(), source.id), actor, CounterAction.MOVE, target.id)
        await asyncio.to_thread(self._publisher.usage.move_session, source.id, target.id, *entry)
        await asyncio.to_thread(self._publisher.ledger.move, source.id, target.id)
        await self._publisher.put_in_force()

    async def pause_session(self, device: str, actor: str, minutes: float) -> None:
        found, now = self._device(device), time.time()
        if any(each.device == found.id for each in _pauses(self._publisher.view, now)):
            raise InvalidInput("%(device)s is paused already.", device=device)
        entry = _entry(session_at(self.sessions(), found.id), actor, CounterAction.PAUSE)
        await asyncio.to_thread(self._publisher.usage.extend_session, found.id, minutes * 60, *entry)
        await asyncio.to_thread(self._publisher.ledger.pause, actor, device=found.id, ends=now + minutes * 60)
        await self._publisher.put_in_force()

    async def resume_session(self, device: str, actor: str) -> None:
        found = self._device(device)
        await self._resume(found.id, actor)
        await self._publisher.put_in_force()

    async def _resume(self, seat: DeviceId, actor: str) -> float:
        """End the pauses of a seat. Returns the seconds that they had added to its session and that are taken away again."""
        now, here, unused = time.time(), session_at(self.sessions(), seat), 0.0
        for pause in _pauses(self._publisher.view, now):
            if pause.device == seat:
                await asyncio.to_thread(self._publisher.ledger.resume, actor, device=seat)
                if pause.ends is not None and here is not None:
                    entry = _entry(here, actor, CounterAction.RESUME)
                    await asyncio.to_thread(self._publisher.usage.extend_session, seat, now - pause.ends, *entry)
                    unused += pause.ends - now
        return unused

    async def reopen_session(self, session_id: str, ends: float | None, actor: str) -> None:
        undone = await asyncio.to_thread(self._counter.reopening, session_id, actor)
        entries: list[CounterEntry] = []
        if undone is not None:  # at a seat, the end is that of before, whatever the form says
            entry, ends = undone
            entries = [entry]
        await asyncio.to_thread(self._publisher.usage.reopen_session, session_id, ends, *entries)
        await self._publisher.put_in_force()

    async def accept(self, session_id: str) -> None:
        if await asyncio.to_thread(self._publisher.usage.accept, session_id):
            await self._publisher.put_in_force()

    def session_start(self, device: str) -> float:
        found = self._policy.devices.get(device)
        if found is None or not found.is_seat:
            return 0.0
        here = [each.starts for each in self.sessions() if each.device == found.id and each.starts <= time.time()]
        return max(here) if here else self._publisher.usage.last_session_end(found.id) or 0.0

    @property
    def _policy(self) -> Policy:
        return self._publisher.policy

    def _device(self, name: str) -> Device:
        device = self._policy.devices.get(name)
        if device is None:
            raise InvalidInput("The policy has no person or device called '%(name)s'.", name=name)
        return device


def session_at(sessions: Sequence[Session], device: DeviceId) -> Session | None:
    """Return the newest of the open sessions at a device."""
    return next((each for each in reversed(sessions) if each.device == device), None)


def _pauses(view: LoadedSnapshot | None, now: float) -> tuple[Pause, ...]:
    return tuple(each for each in view.rulesets.pauses if each.ends is None or each.ends > now) if view is not None else ()


def _entry(session: Session | None, actor: str, action: CounterAction, note: str = "") -> list[CounterEntry]:
    """Return an entry that costs nothing about a guest's session; none for another session or without one."""
    if session is None or session.person is not None:
        return []
    return [CounterEntry(time.time(), actor, action, session.device, session.id, kind_of(session), note=note)]
