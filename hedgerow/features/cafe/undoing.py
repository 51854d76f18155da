"""Undo of an opening, or of minutes that were added, at a café's counter."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from hedgerow.app.control.sessions import device_called
from hedgerow.dashboards.control import InvalidInput, changed_since, check_recent
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.members import Members, members_of
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.session_entries import last_step
from hedgerow.features.contract import Core, Snapshots
from hedgerow.journal.store import JournalEntry, Store
from hedgerow.journal.tables import sessions
from hedgerow.policies.model import Session
from hedgerow.policies.text.locales import message


@dataclass(frozen=True, slots=True)
class SessionAgain:
    """A session that goes on until `ends`, written with the entry that undoes its end."""

    session: str
    ends: float | None
    entry: CounterEntry

    def write(self, store: Store, connection: Connection) -> int:
        """Write it in the transaction of a connection."""
        is_it = sessions.c.id == self.session
        connection.execute(store.update(sessions).where(is_it).values(ends=self.ends))
        return self.entry.write(store, connection)


class SeatUndo:
    """Undo of the last opening of a seat, or of the last minutes of its session, within ten minutes."""

    def __init__(self, snapshots: Snapshots, counter: CounterService, members: Members) -> None:
        self._snapshots, self._counter, self._members = snapshots, counter, members

    async def undo(self, session: str, entry: int, *, actor: str, request: str = "") -> None:
        """Take back what the entry with this id has given to a session.

        What was paid with it goes back to where it came from: in cash, or to the balance of the member. A session that
        the opening had ended goes on. Raises `InvalidInput` if the session has changed since, or after ten minutes.
        """
        key = key_of(request, CounterAction.UNDO, f"{entry}")
        await self._counter.in_turn(lambda: self.undo_in_turn(session, entry, actor, key))
        await self._snapshots.put_in_force()

    def undo_in_turn(self, session_id: str, entry: int, actor: str, key: str | None) -> None:
        """Take back an entry, within a turn at the counter."""
        now, counter = time.time(), self._counter
        counter.check_actor(actor)
        if counter.done_before(key) is not None:
            return
        given, session = last_step(counter.store.of_session(session_id)), counter.store.session(session_id)
        if given is None or given.id != entry or session is None or (session.ends is not None and session.ends <= now):
            raise changed_since()
        check_recent(given.at, now)
        undone = replace(counter.undoing(given, session.device, actor), key=key)
        entries = self._members.taking_back(given, undone)
        if given.action is CounterAction.EXTEND:
            self._shorten(session, given.minutes, now, entries)
        else:
            self._close(session, given, actor, entries)

    def _shorten(self, session: Session, minutes: int, now: float, entries: tuple[JournalEntry, ...]) -> None:
        pauses = (each.ends for each in self._snapshots.reader.pauses(now) if each.device == session.device)
        stands_still = max([0.0, *(ends - now for ends in pauses if ends is not None)])
        if session.ends is None or session.ends - stands_still - minutes * 60 <= now:
            raise InvalidInput(message("The guest has used these minutes already: end the session instead."))
        self._snapshots.usage.extend_session(session.device, -minutes * 60, *entries)

    def _close(self, session: Session, given: CounterEntry, actor: str, entries: tuple[JournalEntry, ...]) -> None:
        again = self._replaced(session, given, actor)
        self._counter.lift_pauses(device_called(session.device, self._snapshots.policy), actor)
        self._snapshots.usage.end_session(session.device, *entries, *again)
        self._snapshots.ledger.clear(session.device, actor)

    def _replaced(self, session: Session, given: CounterEntry, actor: str) -> tuple[SessionAgain, ...]:
        """Return the session that an opening has ended at its seat, as it goes on there."""
        ended = [
            each
            for each in self._counter.store.entries(given.at, given.at + 1)
            if each.action is CounterAction.END and (each.at, each.seat) == (given.at, session.device)
        ]
        if not ended:
            return ()
        undone = self._counter.reopening(ended[0].session, actor)
        return () if undone is None else (SessionAgain(ended[0].session, undone[1], undone[0]),)


def seat_undo_of(core: Core) -> SeatUndo:
    """Make the part of control that undoes openings and minutes."""
    return SeatUndo(core.snapshots, core.part(counter_of), core.part(members_of))
