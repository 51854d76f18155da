"""Sessions at seats and shared devices, on behalf of the people in charge."""

from __future__ import annotations

import asyncio
import secrets
import time

from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.model import Device, Pause, Policy, Session

SEAT_PROFILES = {"child": "seat-child", "adult": "seat-adult"}


class SessionService:
    """The part of `dashboards.api.time.TimeControl` that begins, changes and ends sessions."""

    def __init__(self, publisher: SnapshotPublisher) -> None:
        self._publisher = publisher

    def sessions(self) -> tuple[Session, ...]:
        view = self._publisher.view
        now = time.time()
        return tuple(each for each in view.rulesets.sessions if each.ends is None or each.ends > now) if view is not None else ()

    async def start_session(
        self, device: str, actor: str, *, person: str | None, band: str | None, minutes: float | None, name: str
    ) -> Session:
        found = self._device(device)
        if found.is_seat == (person is not None) or (band is None) == (person is None):
            if found.is_seat:
                raise InvalidInput("%(device)s is a seat: choose whether a child or an adult is sitting there.", device=device)
            raise InvalidInput("%(device)s is not a seat: choose which of its people is signing in.", device=device)
        if person is not None and person not in found.sharers:
            raise InvalidInput("%(person)s does not share %(device)s.", device=device, person=person)
        now = time.time()
        profile = SEAT_PROFILES[band] if band is not None else None
        session = Session(secrets.token_hex(6), found.id, actor, now, now + minutes * 60 if minutes else None, person, profile, name)
        if found.is_seat:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, actor)
        await asyncio.to_thread(self._publisher.usage.start_session, session)
        await self._publisher.put_in_force()
        return session

    async def end_session(self, device: str) -> None:
        found = self._device(device)
        await asyncio.to_thread(self._publisher.usage.end_session, found.id)
        if found.is_seat:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, "the end of the session")
        await self._publisher.put_in_force()

    async def extend_session(self, device: str, minutes: float) -> None:
        await asyncio.to_thread(self._publisher.usage.extend_session, self._device(device).id, minutes * 60)
        await self._publisher.put_in_force()

    async def move_session(self, device: str, to: str) -> None:
        source, target = self._device(device), self._device(to)
        if not (source.is_seat and target.is_seat):
            raise InvalidInput("Only guests at seats can move, and only to another seat.")
        await asyncio.to_thread(self._publisher.usage.move_session, source.id, target.id)
        await asyncio.to_thread(self._publisher.ledger.move, source.id, target.id)
        await self._publisher.put_in_force()

    async def pause_session(self, device: str, actor: str, minutes: float) -> None:
        found, now = self._device(device), time.time()
        if any(each.device == found.id for each in self._pauses(now)):
            raise InvalidInput("%(device)s is paused already.", device=device)
        await asyncio.to_thread(self._publisher.usage.extend_session, found.id, minutes * 60)
        await asyncio.to_thread(self._publisher.ledger.pause, actor, device=found.id, ends=now + minutes * 60)
        await self._publisher.put_in_force()

    async def resume_session(self, device: str, actor: str) -> None:
        found, now = self._device(device), time.time()
        for pause in self._pauses(now):
            if pause.device == found.id:
                await asyncio.to_thread(self._publisher.ledger.resume, actor, device=found.id)
                if pause.ends is not None:
                    await asyncio.to_thread(self._publisher.usage.extend_session, found.id, now - pause.ends)
        await self._publisher.put_in_force()

    def _pauses(self, now: float) -> tuple[Pause, ...]:
        view = self._publisher.view
        return tuple(each for each in view.rulesets.pauses if each.ends is None or each.ends > now) if view is not None else ()

    async def reopen_session(self, session_id: str, ends: float | None) -> None:
        await asyncio.to_thread(self._publisher.usage.reopen_session, session_id, ends)
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
