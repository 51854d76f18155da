"""Sessions at shared devices, and what is known of all sessions."""

from __future__ import annotations

import asyncio
import secrets
import time

from hedgerow.dashboards.actions.orders import ExtendOrder, SeatOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import Snapshots
from hedgerow.journal.store import JournalEntry
from hedgerow.policies.model import Device, DeviceId, Policy, Session

PAUSED_SESSION = "the session's time stands still"
"""Note of a pause for which a session lasts longer."""


def device_called(name: str, policy: Policy) -> Device:
    """Return a device of the policy. Raises `InvalidInput`."""
    device = policy.devices.get(name)
    if device is None:
        raise InvalidInput("The policy has no person or device called '%(name)s'.", name=name)
    return device


def check_order(device: Device, order: SeatOrder) -> None:
    """Raise `InvalidInput` unless an order is for a guest at a seat, or for one of a shared device's people."""
    person = order.person
    if device.is_seat == (person is not None) or (order.band is None) == (person is None):
        if device.is_seat:
            raise InvalidInput(
                "%(device)s is a seat: choose whether a child or an adult is sitting there.", device=device.id
            )
        raise InvalidInput("%(device)s is not a seat: choose which of its people is signing in.", device=device.id)
    if person is not None and person not in device.sharers:
        raise InvalidInput("%(person)s does not share %(device)s.", device=device.id, person=person)


def session_at(snapshots: Snapshots, device: DeviceId, now: float) -> Session | None:
    """Return the session in force at a device, as the journal has it. Waits for the disk."""
    return next((each for each in reversed(snapshots.usage.sessions(now)) if each.device == device), None)


def lift_pauses(snapshots: Snapshots, device: Device, actor: str, *entries: JournalEntry) -> float:
    """End the pauses of a device, each with these entries. Waits for the disk.

    Returns the seconds of its session that they had added and that are taken away.
    """
    now, unused = time.time(), 0.0
    here = session_at(snapshots, device.id, now)
    for pause in snapshots.reader.pauses(now):
        if pause.device != device.id:
            continue
        snapshots.ledger.resume(actor, *entries, device=device.id)
        if pause.note == PAUSED_SESSION and pause.ends is not None and here is not None and here.ends is not None:
            snapshots.usage.extend_session(device.id, now - pause.ends)
            unused += pause.ends - now
    return unused


def start_at_shared(snapshots: Snapshots, device: Device, actor: str, order: SeatOrder) -> Session:
    """Sign a person in at a shared device. Waits for the disk."""
    now = time.time()
    ends = now + order.minutes * 60 if order.minutes else None
    session = Session(secrets.token_hex(6), device.id, actor, now, ends, order.person, None, order.name)
    snapshots.usage.start_session(session)
    return session


class SharedDeviceSessions:
    """Sessions of people at the devices that they share. The parameters are those of `SessionControl`."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots, self._pausing = snapshots, asyncio.Lock()

    async def start_session(self, device: str, order: SeatOrder, *, actor: str, request: str = "") -> Session:  # noqa: ARG002
        found = self._device(device)
        check_order(found, order)
        if order.person is None:
            raise InvalidInput("Sessions at seats are opened at a counter, which is not in use here.")
        session = await asyncio.to_thread(start_at_shared, self._snapshots, found, actor, order)
        await self._snapshots.put_in_force()
        return session

    async def end_session(self, device: str, *, actor: str, request: str = "") -> Session | None:  # noqa: ARG002
        found = self._device(device)
        here = await asyncio.to_thread(session_at, self._snapshots, found.id, time.time())
        await asyncio.to_thread(self._snapshots.usage.end_session, found.id)
        await self._snapshots.put_in_force()
        return here

    async def extend_session(self, device: str, order: ExtendOrder, *, actor: str, request: str = "") -> None:  # noqa: ARG002
        await asyncio.to_thread(self._snapshots.usage.extend_session, self._device(device).id, order.minutes * 60)
        await self._snapshots.put_in_force()

    async def pause_session(self, device: str, minutes: float, *, actor: str, request: str = "") -> None:  # noqa: ARG002
        found = self._device(device)

        def pause() -> None:
            now = time.time()
            if any(each.device == found.id for each in self._snapshots.reader.pauses(now)):
                raise InvalidInput("%(device)s is paused already.", device=device)
            self._snapshots.usage.extend_session(found.id, minutes * 60)
            self._snapshots.ledger.pause(actor, device=found.id, ends=now + minutes * 60, note=PAUSED_SESSION)

        async with self._pausing:  # the second of two taps at once finds the pause of the first
            await asyncio.to_thread(pause)
        await self._snapshots.put_in_force()

    async def resume_session(self, device: str, *, actor: str) -> None:
        async with self._pausing:
            await asyncio.to_thread(lift_pauses, self._snapshots, self._device(device), actor)
        await self._snapshots.put_in_force()

    async def reopen_session(
        self,
        session_id: str,
        ends: float | None,
        *,
        actor: str,  # noqa: ARG002
        request: str = "",  # noqa: ARG002
    ) -> None:
        await asyncio.to_thread(self._snapshots.usage.reopen_session, session_id, ends)
        await self._snapshots.put_in_force()

    def _device(self, name: str) -> Device:
        return device_called(name, self._snapshots.policy)
