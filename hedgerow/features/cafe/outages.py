"""Outages: the time in which no machine of the café ran is given back to the guests who sat there.

A row of the journal has the instant at which a machine ran last. If that is long ago, or the machine slept meanwhile,
each session of that instant lasts so much longer, by an entry of its own. After a long outage, sessions end as of its
beginning instead, and their unused minutes can be had as a voucher.

A clock that is set back is not an outage. Sessions move with the clock, so that their guests have neither more nor less
time, and those that are over stay over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import or_
from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.sessions import PAUSED_SESSION
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.rules import key_of, kind_of
from hedgerow.features.contract import ControlService, Core, Snapshots
from hedgerow.journal.access_store import move_pauses
from hedgerow.journal.store import Store
from hedgerow.journal.tables import pauses, sessions, writers
from hedgerow.policies.model import Session
from hedgerow.task_state import Area

log = logging.getLogger("hedgerow.cafe")

OUTAGE_ACTOR = "Hedgerow"
BEAT_S = 15.0
SHORTEST_S = 120.0
"""An outage that is shorter gives nothing back: restarts and upgrades leave the seats as they are."""
LONGEST_S = 4 * 3600.0
"""After a longer one, the guests have gone."""
LEAST_STEP_S = 60.0
"""A clock that is set back by less changes nothing."""

_RAN = "the café's seats"


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The time in seconds since the epoch, and by a clock that nobody sets and that stops while the machine
    sleeps.
    """

    wall: float
    steady: float

    @staticmethod
    def now() -> ClockReading:
        return ClockReading(time.time(), time.monotonic())


class OutageService:
    """The instant at which a machine of the café ran last, and what follows from a gap after it."""

    def __init__(
        self,
        snapshots: Snapshots,
        store: Store,
        counter: CounterService,
        clock: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        self._snapshots, self._store, self._counter, self._clock = snapshots, store, counter, clock
        self._before: ClockReading | None = None

    async def run(self) -> None:
        """Note the time every few seconds."""
        while True:
            try:
                if await self.beat():
                    await self._snapshots.put_in_force()
            except DatabaseError as error:  # noted again once the store is back
                log.warning("the time was not noted: %s", error.orig)
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> bool:
        """Note the time. Return True if sessions changed because of an outage, or of a clock that was set back."""
        return await self._counter.in_turn(self._beat)

    def _beat(self) -> bool:
        here, changed = self._clock(), False
        rows = self._store.rows(self._store.select(writers).where(writers.c.writer == _RAN))
        ran = float(rows[0]._mapping["at"]) if rows else None
        if ran is not None:
            expected, gap_begins = self._expected(here, ran)
            if ran > here.wall + LEAST_STEP_S / 2 and here.wall < expected - LEAST_STEP_S:
                changed = self._set_back(expected, here.wall)
            elif here.wall - gap_begins > SHORTEST_S:
                changed = self._give_back(gap_begins, here.wall)
        row = {"writer": _RAN, "batch": 0, "at": here.wall}
        self._store.execute(self._store.upsert(writers, lambda new: {"at": new.at}).values(row))
        self._before = here
        return changed

    def _expected(self, here: ClockReading, ran: float) -> tuple[float, float]:
        """Return the time that it would be if nobody had set the clock, and the beginning of the time in which no
        machine ran.
        """
        if self._before is None:
            return max(ran, here.wall), ran
        passed = here.steady - self._before.steady
        return self._before.wall + passed, max(ran, here.wall - (here.wall - self._before.wall - passed))

    def _give_back(self, begins: float, ends: float) -> bool:
        here = self._snapshots.usage.sessions(begins)
        newest = {each.device: each.id for each in here}
        held = self._snapshots.reader.pauses(begins)
        paused = {each.device: each.ends for each in held if each.note == PAUSED_SESSION}
        changed = False
        for session in here:
            seat, since = self._snapshots.policy.devices.get(session.device), max(begins, session.starts)
            is_of_then = since <= begins + BEAT_S and newest[session.device] == session.id
            if seat is None or not seat.is_seat or not is_of_then:
                continue
            stood_still = max(0.0, (paused.get(session.device) or 0.0) - since)
            lost = ends - since - stood_still
            key = key_of(f"{begins:.0f}", CounterAction.OUTAGE, session.id)
            if lost > 0 and self._counter.done_before(key) is None:
                self._change(session, since, ends, stood_still, key)
                changed = True
        return changed

    def _change(self, session: Session, begins: float, ends: float, stood_still: float, key: str | None) -> None:
        """Let a session last longer by its lost time, or end it where the time was lost.

        The rest of a pause, for which it `stood_still`, is neither lost nor unused.
        """
        lost = ends - begins - stood_still
        minutes, note = math.ceil(lost / 60), f"{begins:.0f} to {ends:.0f}"
        entry = CounterEntry(
            ends,
            OUTAGE_ACTOR,
            CounterAction.OUTAGE,
            session.device,
            session.id,
            kind_of(session),
            minutes,
            note=note,
            key=key,
        )
        values: dict[str, object] = {"ends": sessions.c.ends + lost}
        if lost > LONGEST_S:
            sold = replace(session, ends=None if session.ends is None else session.ends - stood_still)
            ended = self._counter.ending(sold, OUTAGE_ACTOR, begins)
            entry, values = replace(ended, at=ends, key=key), {"ends": min(ends, session.ends or ends)}
        with self._store.begin() as connection:
            connection.execute(self._store.update(sessions).where(sessions.c.id == session.id).values(values))
            entry.write(self._store, connection)

    def _set_back(self, before: float, now: float) -> bool:
        """Let sessions and their pauses move with a clock that was set back from `before` to `now`."""
        step, ends = before - now, sessions.c.ends
        is_open, is_over = or_(ends.is_(None), ends > before), ends.between(now, before)
        held = (pauses.c.note == PAUSED_SESSION) & (pauses.c.ends > before)
        moved = {"starts": sessions.c.starts - step, "ends": ends - step}
        over = self._store.update(sessions).where(is_over).values(ends=now)
        with self._store.begin() as connection:
            changed = connection.execute(over).rowcount
            open_now = self._store.update(sessions).where(is_open, sessions.c.starts <= before).values(moved)
            changed += connection.execute(open_now).rowcount
            move_pauses(self._store, connection, held, seconds=-step)
            if changed:
                note = f"{before:.0f} to {now:.0f}"
                CounterEntry(now, OUTAGE_ACTOR, CounterAction.CLOCK, note=note).write(self._store, connection)
        return bool(changed)


def outage_service(core: Core) -> ControlService:
    """Return the service that gives back the time of outages."""
    outages = OutageService(core.snapshots, core.store, core.part(counter_of))
    return ControlService(name="outages", area=Area.UPKEEP, run=outages.run)
