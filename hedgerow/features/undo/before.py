"""State before a pause, minutes or a later bedtime, as the journal has it. Everything here waits for the disk."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import Core, Snapshots
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.reader import grant_of, is_running_pause, pause_of
from hedgerow.journal.store import Store
from hedgerow.journal.tables import bonuses, grants, pauses
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.time_model import LATER_BEDTIME, Bonus

_PAUSE, _GRANT = pauses.c, grants.c
_TAKEN_BACK = "-undone"
"""End of the id of minutes that take others back."""


def changed_since() -> InvalidInput:
    """Return the refusal of an undo after which something else was done."""
    return InvalidInput("This has been changed since, so nothing was undone.")


def pause_before(store: Store, pause_id: str, now: float) -> tuple[Pause, Pause | None]:
    """Return a pause that runs, and the one that would still run had it not been replaced.

    Raises `InvalidInput` if the pause is over, or if another one took its place.
    """
    rows = store.rows(store.select(pauses).where(_PAUSE.id == pause_id, is_running_pause(now)))
    if not rows:
        raise changed_since()
    pause = pause_of(rows[0])
    return pause, _latest_ended(store, _is_for(pause.device, pause.person) & (_PAUSE.ended_at >= pause.starts), now)


def pause_that_ended(store: Store, device: str | None, person: str | None, now: float) -> Pause:
    """Return the pause of a device, a person or everybody that was ended last and would still run.

    Raises `InvalidInput` if there is none, or if there is a new one.
    """
    whose = _is_for(device, person)
    latest = _latest_ended(store, whose, now)
    if latest is None or store.rows(store.select(pauses).where(whose, is_running_pause(now))):
        raise changed_since()
    return latest


def _is_for(device: str | None, person: str | None) -> ColumnElement[bool]:
    return _PAUSE.device.is_not_distinct_from(device) & _PAUSE.person.is_not_distinct_from(person)


def _latest_ended(store: Store, which: ColumnElement[bool], now: float) -> Pause | None:
    would_run = _PAUSE.ended_at.is_not(None) & (_PAUSE.ends.is_(None) | (_PAUSE.ends > now))
    query = store.select(pauses).where(which, would_run).order_by(_PAUSE.ended_at.desc(), _PAUSE.starts.desc())
    return next(map(pause_of, store.rows(query.limit(1))), None)


class JournalOfTime:
    """Minutes and bedtimes in the journal."""

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store, self._snapshots = store, snapshots

    def take_back(self, bonus_id: str, actor: str) -> Bonus:
        """Take back the minutes of a bonus, and return it. Raises `NoSuchEntry`, or `InvalidInput` the second time.

        The minutes taken back are of the instant of those given, so that they count for the same day and week.
        """
        rows = self._store.rows(self._store.select(bonuses).where(bonuses.c.id == bonus_id))
        if not rows or bonus_id.endswith(_TAKEN_BACK):
            raise NoSuchEntry(f"there are no extra minutes {bonus_id}")
        given = Bonus(**rows[0]._mapping)
        try:
            self._snapshots.usage.give(
                replace(given, id=f"{bonus_id}{_TAKEN_BACK}", minutes=-given.minutes, actor=actor)
            )
        except IntegrityError:
            raise changed_since() from None
        return given

    def bedtime_before(self, grant_id: str, actor: str, now: float, new_id: str) -> Grant | None:
        """End a grant of a later bedtime, and give the one again that it replaced. Returns that, or None."""
        rows = self._store.rows(
            self._store.select(grants).where(_GRANT.id == grant_id, _GRANT.subject == LATER_BEDTIME)
        )
        if not rows:
            raise NoSuchEntry(f"there is no grant {grant_id}")
        later = grant_of(rows[0])
        self._snapshots.ledger.revoke(grant_id, actor)
        replaced = (_GRANT.revoked_at >= later.starts) & (_GRANT.starts < later.starts) & (_GRANT.ends > now)
        same = (_GRANT.subject == LATER_BEDTIME) & (_GRANT.person == later.person)
        query = self._store.select(grants).where(same, replaced).order_by(_GRANT.starts.desc()).limit(1)
        earlier = next(map(grant_of, self._store.rows(query)), None)
        if earlier is None:
            return None
        again = replace(earlier, id=new_id, actor=actor)
        self._snapshots.ledger.give(again)
        return again

    async def put_in_force(self) -> None:
        await self._snapshots.put_in_force()


def journal_of_time(core: Core) -> JournalOfTime:
    """Make the part of control that changes minutes and bedtimes."""
    return JournalOfTime(core.store, core.snapshots)
