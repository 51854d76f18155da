"""The quiet hour in the journal: one pause for each child, all with the same end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hedgerow.dashboards.control import UNDO_S, InvalidInput, changed_since
from hedgerow.features.contract import Core, Snapshots
from hedgerow.journal.access_store import begin_pause, end_pauses
from hedgerow.journal.reader import is_running_pause, pause_of
from hedgerow.journal.store import Store
from hedgerow.journal.tables import pauses
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.model import DeviceId, Pause, Policy

NOTE = "quiet-hour"
"""Note of the pauses of a quiet hour, which pages and block pages show as its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHour:
    """A quiet hour that runs, and the people and devices that it closes. Instants are seconds since the epoch."""

    actor: str
    starts: float
    ends: float
    people: tuple[str, ...]
    devices: tuple[DeviceId, ...]


def children_in(policy: Policy) -> Iterator[tuple[str | None, DeviceId | None]]:
    """Yield the children of a policy, each as a person, or as a device with the rules of a child that is not theirs.

    Those at a café's seats are left out: their time is the counter's.
    """
    users = EffectiveUsers(policy)
    children = {name for name, person in policy.people.items() if policy.profiles[person.profile].is_for_children}
    yield from ((name, None) for name in policy.people if name in children and users.seat_of(name) is None)
    for device in policy.devices.values():
        owners = {device.person, *device.sharers}
        is_childs = policy.profiles[device.profile].is_for_children and not users.is_at_seat(device)
        if is_childs and owners.isdisjoint(children):
            yield None, device.id


class QuietHours:
    """The quiet hour of this home. Its pauses replace no others: homework and longer pauses go on until their end."""

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store, self._snapshots = store, snapshots

    def running(self, now: float) -> QuietHour | None:
        """Return the quiet hour that runs, None without one. Waits for the disk."""
        query = self._store.select(pauses).where(pauses.c.note == NOTE, is_running_pause(now))
        found = [pause_of(row) for row in self._store.rows(query)]
        return _hour_of(found) if found else None

    async def begin(self, policy: Policy, actor: str, *, starts: float, ends: float) -> QuietHour:
        """Begin a quiet hour in the place of one that runs. Raises `InvalidInput` without children."""
        given = [
            Pause(secrets.token_hex(6), actor, starts, ends, device, person, NOTE)
            for person, device in children_in(policy)
        ]
        if not given:
            raise InvalidInput("A quiet hour is for children, and the policy names none.")
        await asyncio.to_thread(self._replace, given, actor, starts)
        await self._snapshots.put_in_force()
        return _hour_of(given)

    async def end(self, actor: str, now: float) -> None:
        """End the quiet hour. Raises `InvalidInput` without one."""
        if not await asyncio.to_thread(self._replace, [], actor, now):
            raise InvalidInput("There is no quiet hour now.")
        await self._snapshots.put_in_force()

    async def begin_again(self, actor: str, now: float) -> QuietHour:
        """Begin the quiet hour again that was ended in the last ten minutes, for those who were in it, until its end.

        Raises `InvalidInput` without one, or if another one runs.
        """
        given = await asyncio.to_thread(self._ended, now)
        if not given or self.running(now) is not None:
            raise changed_since()
        again = [replace(each, id=secrets.token_hex(6), actor=actor, starts=now) for each in given]
        await asyncio.to_thread(self._replace, again, actor, now)
        await self._snapshots.put_in_force()
        return _hour_of(again)

    def _ended(self, now: float) -> list[Pause]:
        """Return the pauses of the quiet hour that was ended last, if that can be undone."""
        its = (pauses.c.note == NOTE) & (pauses.c.ended_at >= now - UNDO_S)
        rows = self._store.rows(self._store.select(pauses).where(its, pauses.c.ends > now))
        last = max((row.ended_at for row in rows), default=0.0)
        return [pause_of(row) for row in rows if row.ended_at == last]

    def _replace(self, given: list[Pause], actor: str, now: float) -> int:
        """End the pauses of a quiet hour, and write others. Returns the number of those that ended."""
        with self._store.begin() as connection:
            ended = end_pauses(self._store, connection, pauses.c.note == NOTE, actor=actor, now=now)
            for pause in given:
                begin_pause(self._store, connection, pause)
        return ended


def _hour_of(found: list[Pause]) -> QuietHour:
    return QuietHour(
        actor=found[-1].actor,
        starts=found[-1].starts,
        ends=max(pause.ends or 0.0 for pause in found),
        people=tuple(sorted(pause.person for pause in found if pause.person is not None)),
        devices=tuple(sorted(pause.device for pause in found if pause.device is not None)),
    )


def quiet_hours(core: Core) -> QuietHours:
    """Make the part of control that begins and ends quiet hours."""
    return QuietHours(core.store, core.snapshots)
