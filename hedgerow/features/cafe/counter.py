"""A café's counter: one thing after the other, and the rule for what is changed at a seat outside its session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from hedgerow.app.control.access_rule import AccessChange, ChangeKind
from hedgerow.app.control.sessions import lift_pauses, session_at
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore
from hedgerow.features.cafe.rules import CounterRules
from hedgerow.features.contract import Core, Snapshots
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.model import Device, DeviceId, Session
from hedgerow.policies.seats import SEAT_PREFIX


class CounterService(CounterRules):
    """The counter: one thing after the other, and the rule for what is changed at a seat outside its session.

    Methods that are not `async` read the journal: call them within `in_turn`.
    """

    def __init__(self, snapshots: Snapshots, store: CounterStore, accounts: Accounts) -> None:
        super().__init__(snapshots, store, accounts)
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
        return session_at(self._snapshots, seat, now)

    def concerns_seats(self, device: Device | None) -> bool:
        """Return whether a change for a device, or for everybody, has an effect at a seat."""
        users = EffectiveUsers(self._policy)
        return users.has_seats if device is None else users.is_at_seat(device)

    async def check(self, wanted: AccessChange | None) -> None:
        """Raise `InvalidInput` if a change that concerns a seat would be refused now."""
        if wanted is not None and self.concerns_seats(wanted.device):
            await self.in_turn(lambda: self.entry_of(wanted))

    async def change[Result](self, wanted: AccessChange | None, write: Callable[..., Result]) -> Result:
        """Call `write` in a thread, with the counter's entry about the change if it concerns a seat.

        Raises `InvalidInput`.
        """
        if wanted is None or not self.concerns_seats(wanted.device):
            return await asyncio.to_thread(write)
        return await self.in_turn(lambda: self._write(wanted, write))

    def _write[Result](self, wanted: AccessChange, write: Callable[..., Result]) -> Result:
        entry = self.entry_of(wanted)
        if wanted.kind is not ChangeKind.ALLOW and wanted.device is not None and wanted.person is None:
            self.lift_pauses(wanted.device, wanted.actor)  # one may have let the session's time stand still
        return write(entry)

    def entry_of(self, wanted: AccessChange, action: CounterAction | None = None) -> CounterEntry:
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
            action or CounterAction(wanted.kind.value),
            seat=seat.id if seat is not None else "",
            session=session.id if session is not None else "",
            kind=kind,
            minutes=wanted.minutes,
            note=wanted.subject,
        )
        if entry.action is not CounterAction.ALLOW or not wanted.dangers:
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
        """End the pauses of a seat or shared device, with the counter's entry if it concerns a seat.

        Returns the seconds of its session that they had added and that are taken away.
        """
        entry = self.entry_of(AccessChange(kind=ChangeKind.RESUME, actor=actor, device=seat))
        return lift_pauses(self._snapshots, seat, actor, *([entry] if self.concerns_seats(seat) else []))


def counter_of(core: Core) -> CounterService:
    """Make the part of control for the counter."""
    return CounterService(core.snapshots, CounterStore(core.store), core.accounts)
