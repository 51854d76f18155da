"""Minutes of use, bonus minutes and seat sessions: what budgets need to know again after a restart.

Minutes are stored per budget, or per topic of the weekly report, as one bit set per hour. Nothing else about them is
stored.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import JournalEntry, Store, write_entries
from hedgerow.journal.tables import bonuses, sessions, usage
from hedgerow.policies.model import DeviceId, Session
from hedgerow.policies.time_model import ActiveMinute, Bonus
from hedgerow.policies.times.budget import BudgetAccount

MAX_USAGE_HOURS = 24 * 35
"""Hours that are kept: a weekly budget needs a week, a monthly report a month."""

UNDO_S = 300.0
"""Time in which the end of a session can be undone."""


def add_minutes(store: Store, connection: Connection, minutes: Iterable[ActiveMinute]) -> None:
    """Add minutes of use in the transaction of a connection. A minute that is there already changes nothing."""
    bits: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for each in minutes:
        hour, minute = divmod(each.minute, 60)
        bits[each.account, each.subject, hour] |= 1 << minute
    statement = store.dialect.upsert(usage, lambda new: {"minutes": usage.c.minutes.op("|")(new.minutes)})
    names = ("account", "subject", "hour", "minutes")
    store.insert_rows(
        connection, statement, (dict(zip(names, (*key, value), strict=True)) for key, value in sorted(bits.items()))
    )


def give_bonus(store: Store, connection: Connection, bonus: Bonus) -> None:
    """Write minutes that somebody gives, or takes back. Everything that gives some does so here."""
    connection.execute(store.insert(bonuses).values(asdict(bonus)))


def undo_bonus(store: Store, connection: Connection, bonus_id: str, actor: str) -> Bonus:
    """Take back the minutes of a bonus, and return it. Raises `NoSuchEntry`, or IntegrityError the second time.

    The minutes taken back are of the instant of those given, so that they count for the same day and week.
    """
    row = connection.execute(store.select(bonuses).where(bonuses.c.id == bonus_id, bonuses.c.minutes > 0)).first()
    if row is None:
        raise NoSuchEntry(f"there are no extra minutes {bonus_id}")
    given = Bonus(**row._mapping)
    give_bonus(store, connection, replace(given, id=f"{bonus_id}-undone", minutes=-given.minutes, actor=actor))
    return given


class UsageStore:
    """The store of minutes, bonuses and sessions.

    Every method waits for the disk. `entries` are written in the same transaction.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def marks(self, since: float) -> dict[BudgetAccount, dict[int, int]]:
        """Return the marked minutes of use from the hour of `since` on."""
        return JournalReader(self._store).use(since)

    def add(self, minutes: Iterable[ActiveMinute]) -> None:
        """Add minutes of use. A minute that is there already changes nothing."""
        if batch := list(minutes):
            with self._store.begin() as connection:
                add_minutes(self._store, connection, batch)

    def prune(self) -> None:
        """Delete rows that no budget or report needs any more."""
        oldest = self._clock() - MAX_USAGE_HOURS * 3600
        with self._store.begin() as connection:
            connection.execute(self._store.delete(usage).where(usage.c.hour < math.ceil(oldest / 3600)))
            connection.execute(self._store.delete(bonuses).where(bonuses.c.at < oldest))
            connection.execute(self._store.delete(sessions).where(sessions.c.ends < oldest))

    def give(self, bonus: Bonus, *entries: JournalEntry) -> None:
        with self._store.begin() as connection:
            give_bonus(self._store, connection, bonus)
            write_entries(self._store, connection, entries)

    def bonuses(self, since: float) -> tuple[Bonus, ...]:
        """Return the bonuses given from `since` on."""
        query = self._store.select(bonuses).where(bonuses.c.at >= since).order_by(bonuses.c.at)
        return tuple(Bonus(**row._mapping) for row in self._store.rows(query))

    def start_session(self, session: Session, *entries: JournalEntry) -> None:
        """Start a session, and end the one before it at the same device."""
        with self._store.begin() as connection:
            is_before = (sessions.c.device == session.device) & _is_open(session.starts)
            connection.execute(self._store.update(sessions).where(is_before).values(ends=session.starts))
            connection.execute(self._store.insert(sessions).values(asdict(session)))
            write_entries(self._store, connection, entries)

    def end_session(self, device: DeviceId, *entries: JournalEntry) -> None:
        """End the session at a device. Raises `NoSuchEntry` if there is none."""
        self._change_open(device, {"ends": self._clock()}, f"there is no session at {device}", entries)

    def extend_session(self, device: DeviceId, seconds: float, *entries: JournalEntry) -> None:
        """Let the session at a device last longer, or shorter by negative `seconds`.

        Raises `NoSuchEntry` if none there has an end.
        """
        is_timed = sessions.c.ends.is_not(None)
        self._change_open(
            device,
            {"ends": sessions.c.ends + seconds},
            f"there is no session with an end at {device}",
            entries,
            is_timed,
        )

    def move_session(self, device: DeviceId, to: DeviceId, *entries: JournalEntry) -> None:
        """Continue the session of a device at another one, of which nobody makes use. Raises `NoSuchEntry`."""
        if any(each.device == to for each in self.sessions(self._clock())):
            raise NoSuchEntry(f"there is a session at {to}")
        self._change_open(device, {"device": to}, f"there is no session at {device}", entries)

    def reopen_session(self, session_id: str, ends: float | None, *entries: JournalEntry) -> DeviceId:
        """Continue a session that ended within `UNDO_S`, and return its device.

        Raises `NoSuchEntry` if somebody sits there by now.
        """
        now = self._clock()
        is_it = (sessions.c.id == session_id) & sessions.c.ends.between(now - UNDO_S, now)
        device = self._store.scalar(select(sessions.c.device).where(self._store.own(sessions), is_it))
        if device is None or any(each.device == device for each in self.sessions(now)):
            raise NoSuchEntry("there is no such session, or another one has begun")
        with self._store.begin() as connection:
            connection.execute(self._store.update(sessions).where(is_it).values(ends=ends))
            write_entries(self._store, connection, entries)
        return DeviceId(device)

    def _change_open(
        self,
        device: DeviceId,
        values: dict[str, Any],
        problem: str,
        entries: Iterable[JournalEntry],
        *conditions: ColumnElement[bool],
    ) -> None:
        """Change the open session at a device. Raises `NoSuchEntry` with `problem` if none is found."""
        is_there = (sessions.c.device == device) & _is_open(self._clock())
        with self._store.begin() as connection:
            if not connection.execute(
                self._store.update(sessions).where(is_there, *conditions).values(values)
            ).rowcount:
                raise NoSuchEntry(problem)
            write_entries(self._store, connection, entries)

    def accept(self, session_id: str) -> bool:
        """Record that the guest accepted the code of conduct.

        Return False if the session is over or this was done before.
        """
        now = self._clock()
        change = self._store.update(sessions).where(
            sessions.c.id == session_id, sessions.c.accepted.is_(None), _is_open(now)
        )
        return bool(self._store.execute(change.values(accepted=now)))

    def last_session_end(self, device: DeviceId) -> float | None:
        """Return the instant at which the last finished session at a device ended."""
        is_over = (sessions.c.device == device) & (sessions.c.ends <= self._clock())
        end: float | None = self._store.scalar(
            select(func.max(sessions.c.ends)).where(self._store.own(sessions), is_over)
        )
        return end

    def sessions(self, now: float) -> tuple[Session, ...]:
        """Return the sessions in force at `now` or later."""
        query = self._store.select(sessions).where(_is_open(now)).order_by(sessions.c.starts)
        return tuple(Session(**row._mapping) for row in self._store.rows(query))


def _is_open(now: float) -> ColumnElement[bool]:
    return or_(sessions.c.ends.is_(None), sessions.c.ends > now)
