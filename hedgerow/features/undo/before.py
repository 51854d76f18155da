"""State before a pause, minutes or a later bedtime, as the journal has it. Everything here waits for the disk."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import IntegrityError

from hedgerow.app.control.sessions import PAUSED_SESSION
from hedgerow.dashboards.control import InvalidInput, changed_since, check_recent
from hedgerow.features.contract import Core
from hedgerow.journal.access_store import begin_pause, end_pauses, pauses_of, undo_later_bedtime
from hedgerow.journal.reader import is_running_pause, pause_of
from hedgerow.journal.tables import access_requests, bonuses, grants, pauses
from hedgerow.journal.usage import undo_bonus
from hedgerow.policies.effective_users import has_seats
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.time_model import Bonus

_PAUSE, _REQUEST = pauses.c, access_requests.c


class JournalOfTime:
    """Pauses, minutes and bedtimes in the journal.

    Each method raises `InvalidInput` where there are seats, because the counter knows nothing of an undo, and for what
    was done longer ago than `check_recent` allows.
    """

    def __init__(self, core: Core) -> None:
        self._core, self._store, self._alone = core, core.store, threading.Lock()

    @property
    def is_offered(self) -> bool:
        """True where something can be undone: in a network without seats."""
        return not has_seats(self._core.policy)

    def end_pause(self, pause_id: str, actor: str, now: float) -> tuple[Pause, tuple[Pause, ...]]:
        """End a pause that runs, and begin those again that it replaced and that would still run.

        Returns it and them. Raises `InvalidInput` if it is over.
        """
        self._check_seats()
        with self._alone, self._store.begin() as connection:
            this = (_PAUSE.id == pause_id) & is_running_pause(now)
            row = connection.execute(self._store.select(pauses).where(this)).first()
            if row is None:
                raise changed_since()
            check_recent(row.starts, now)
            replaced = (_PAUSE.starts <= row.starts) & (_PAUSE.ended_at >= row.starts)
            query = self._store.select(pauses).where(pauses_of(row.device, row.person), replaced)
            before = connection.execute(query).all()
            if not end_pauses(self._store, connection, this, actor=actor, now=now):
                raise changed_since()
            return pause_of(row), self._begin(connection, before, actor, now)

    def begin_pauses(self, device: str | None, person: str | None, actor: str, now: float) -> tuple[Pause, ...]:
        """Begin those pauses of a device, a person or everybody again that were ended last, and return them.

        Raises `InvalidInput` if there are none, or if one of them began after that.
        """
        self._check_seats()
        with self._alone, self._store.begin() as connection:
            return self._begin(connection, self._ended(connection, device, person, now), actor, now)

    def can_begin_pauses(self, device: str | None, person: str | None, now: float) -> bool:
        """Return whether `begin_pauses` would begin a pause."""
        if not self.is_offered:
            return False
        try:
            with self._store.connect() as connection:
                return bool(self._ended(connection, device, person, now))
        except InvalidInput:
            return False

    def take_back(self, bonus_id: str, actor: str, now: float) -> Bonus:
        """Take back the minutes of a bonus, and return it. Raises `NoSuchEntry`, or `InvalidInput` the second time."""
        self._check_seats()
        try:
            with self._store.begin() as connection:
                given = undo_bonus(self._store, connection, bonus_id, actor)
                check_recent(given.at, now)
        except IntegrityError:
            raise changed_since() from None
        return given

    def bedtime_before(self, grant_id: str, actor: str, now: float) -> Grant | None:
        """End a grant of a later bedtime. The one that it replaced is in force again, and is returned."""
        self._check_seats()
        with self._store.begin() as connection:
            row = connection.execute(self._store.select(grants).where(grants.c.id == grant_id)).first()
            if row is not None:
                check_recent(row.starts, now)
            return undo_later_bedtime(self._store, connection, grant_id, actor, now)

    def reopen_request(self, request_id: int, actor: str, now: float) -> None:
        """Open a denied request again, and those that were denied with it; or a chore, and take back what it earned.

        Raises `InvalidInput` where the person has asked again meanwhile.
        """
        answered = (_REQUEST.state == "denied") | ((_REQUEST.state == "approved") & (_REQUEST.chore != ""))
        with self._alone, self._store.begin() as connection:
            query = self._store.select(access_requests).where(_REQUEST.id == request_id, answered)
            row = connection.execute(query).first()
            if row is None:
                raise changed_since()
            check_recent(row.answered_at, now)
            same = (_REQUEST.host == row.host) & (_REQUEST.device == row.device) & (_REQUEST.chore == row.chore)
            if connection.execute(self._store.select(access_requests).where(same, _REQUEST.state == "open")).first():
                raise changed_since()
            together = (_REQUEST.answered_at == row.answered_at) & (_REQUEST.answered_by == row.answered_by)
            theirs = together & (_REQUEST.state == "denied")
            if row.state == "approved":
                self._check_seats()
                self._take_back_earned(connection, row, actor, now)
                theirs = _REQUEST.id == request_id
            opened = {"state": "open", "answered_at": None, "answered_by": None, "why": "", "grant_id": None}
            connection.execute(self._store.update(access_requests).where(theirs).values(opened))

    def _take_back_earned(self, connection: Connection, row: Row[Any], actor: str, now: float) -> None:
        """Take back the minutes of a chore, and what its day's last one has opened."""
        if connection.execute(self._store.select(bonuses).where(bonuses.c.id == row.grant_id)).first() is not None:
            undo_bonus(self._store, connection, row.grant_id, actor)
        is_with_it = (grants.c.person == row.person) & (grants.c.starts == row.answered_at)
        ending = self._store.update(grants).where(is_with_it, grants.c.revoked_at.is_(None))
        connection.execute(ending.values(revoked_at=now, revoked_by=actor))

    async def put_in_force(self) -> None:
        await self._core.snapshots.put_in_force()

    def _check_seats(self) -> None:
        if not self.is_offered:
            raise InvalidInput("Nothing was undone: where there are seats, this is changed at the counter.")

    def _ended(self, connection: Connection, device: str | None, person: str | None, now: float) -> Sequence[Row[Any]]:
        """Return those pauses of a device, a person or everybody that were ended last and would still run."""
        theirs = self._store.own(pauses) & pauses_of(device, person)
        last = connection.scalar(select(func.max(_PAUSE.ended_at)).where(theirs))
        if last is None:
            raise changed_since()
        check_recent(last, now)
        if connection.execute(select(_PAUSE.id).where(theirs, is_running_pause(last))).first():
            raise changed_since()  # another one replaced it, or began later
        found = connection.execute(self._store.select(pauses).where(theirs, _PAUSE.ended_at == last)).all()
        if any(row.note == PAUSED_SESSION for row in found):  # its end has taken minutes from the session
            raise changed_since()
        if not any(_would_run(row, now) for row in found):
            raise changed_since()
        return found

    def _begin(self, connection: Connection, rows: Iterable[Row[Any]], actor: str, now: float) -> tuple[Pause, ...]:
        """Write pauses again that would still run, all as they were."""
        again = tuple(
            replace(pause_of(row), id=_new_id(), actor=actor, starts=now) for row in rows if _would_run(row, now)
        )
        for pause in again:
            begin_pause(self._store, connection, pause)
        return again


def _would_run(row: Row[Any], now: float) -> bool:
    return row.ends is None or row.ends > now


def _new_id() -> str:
    return secrets.token_hex(6)


def journal_of_time(core: Core) -> JournalOfTime:
    """Make the part of control that undoes changes of pauses, minutes and bedtimes."""
    return JournalOfTime(core)
