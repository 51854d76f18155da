"""A café's counter: what was done there, by whom and for how much, and the staff who may do it.

Entries are only ever added. What changes a session or makes vouchers is written in the same transaction as its entry,
so that a report made of the entries is complete. Amounts are integers in the currency's smallest unit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, select

from hedgerow.journal.store import Store
from hedgerow.journal.tables import counter_entries, sessions, staff, writers
from hedgerow.policies.model import Session

_ENTRY = counter_entries.c
_TURN, _TURN_S = "the counter", 15.0
"""The row for which nodes wait, and the longest time that one may have it or wait for it."""


class CounterAction(StrEnum):
    """Kind of an entry."""

    OPEN = "open"  # a session begins
    REDEEM = "redeem"  # a voucher begins or extends a session; `note` is its serial
    EXTEND = "extend"
    MOVE = "move"  # `note` is the new seat
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"  # `minutes` are unused; `note` is the instant at which the session would have ended
    REOPEN = "reopen"
    PAY = "pay"
    ARTICLE = "article"  # `note` is what is sold, `count` how many; negative if it is taken back
    PRINT = "print"  # vouchers
    CREDIT = "credit"  # a voucher for the unused minutes of a session
    WITHDRAW = "withdraw"  # all unused vouchers
    ALLOW = "allow"  # something is opened at a seat, or for everybody; `note` says what, `minutes` are for a budget
    ALLOW_ADULT = "allow-adult"  # the same, of what is kept from children
    SCREEN = "screen"  # a command for the screen of a seat; `note` says which, without the text of a message
    DUTY = "duty"  # somebody begins to work at the counter
    WRONG_PIN = "wrong-pin"  # `note` is the name
    OUTAGE = "outage"  # the minutes in which no machine ran are given back to a guest; `note` says from when to when
    CLOCK = "clock"  # the clock was set back, and open sessions with it; `note` says from when to when
    COUNT = "count"  # the till is counted at the end of a shift; `note` has the amounts (`CashCount`)


@dataclass(frozen=True, slots=True)
class CounterEntry:
    """One thing that was done.

    `due` is what a guest owes more by it, `taken` what was paid with it. `id` is given by the store.

    `key` identifies the request that asked for it, None if the client gave none. No two entries of a site have the same
    key.
    """

    at: float
    actor: str
    action: CounterAction
    seat: str = ""
    session: str = ""
    kind: str = ""
    minutes: int = 0
    count: int = 1
    due: int = 0
    taken: int = 0
    currency: str = ""
    note: str = ""
    id: int = 0
    key: str | None = None

    def write(self, store: Store, connection: Connection) -> int:
        """Write it in the transaction of a connection. Returns its id."""
        row = {name: value for name, value in asdict(self).items() if name != "id"}
        key = connection.execute(store.insert(counter_entries).values(row)).inserted_primary_key
        return int(key[0]) if key else 0


@dataclass(frozen=True, slots=True)
class StaffRow:
    """A member of the counter's staff. `pin` is an argon2 hash."""

    name: str
    role: str
    created_at: float
    pin: str


def balance(entries: Iterable[CounterEntry]) -> int:
    """Return what a guest still owes, from all entries of a session."""
    return sum(each.due - each.taken for each in entries)


def _entry(row: Row[Any]) -> CounterEntry:
    return CounterEntry(**{**row._mapping, "action": CounterAction(row.action)})


class CounterStore:
    """The store of the counter's entries and staff. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Keep other nodes of the site from the counter meanwhile: what is read within has not changed when it is
        written.

        A file has one node. On a server, all wait for one row, and the server ends the turn of a node that has died.
        """
        if self._store.dialect.has_one_writer:
            yield
            return
        with self._store.begin() as connection:
            self._store.dialect.limit_turn(connection, _TURN_S)
            row = {"writer": _TURN, "batch": 0, "at": time.time()}
            connection.execute(self._store.upsert(writers, lambda new: {"at": new.at}).values(row))
            yield

    def with_key(self, key: str) -> CounterEntry | None:
        """Return the entry with this key, or None if no request had it yet."""
        rows = self._store.rows(self._store.select(counter_entries).where(_ENTRY.key == key))
        return _entry(rows[0]) if rows else None

    def add(self, entry: CounterEntry) -> int:
        with self._store.begin() as connection:
            return entry.write(self._store, connection)

    def entries(self, since: float, before: float, actor: str | None = None) -> tuple[CounterEntry, ...]:
        """Return the entries from `since` until `before`, of one person or of all, in their order."""
        query = self._store.select(counter_entries).where(_ENTRY.at >= since, _ENTRY.at < before)
        if actor is not None:
            query = query.where(_ENTRY.actor == actor)
        rows = self._store.rows(query.order_by(_ENTRY.id))
        return tuple(_entry(row) for row in rows)

    def of_session(self, session: str) -> tuple[CounterEntry, ...]:
        """Return the entries of a session, in their order."""
        rows = self._store.rows(
            self._store.select(counter_entries).where(_ENTRY.session == session).order_by(_ENTRY.id)
        )
        return tuple(_entry(row) for row in rows)

    def unpaid(self) -> tuple[CounterEntry, ...]:
        """Return all entries of the sessions whose guests have paid less than they owe, or more."""
        is_unsettled = func.sum(_ENTRY.due - _ENTRY.taken) != 0
        own = select(_ENTRY.session).where(self._store.own(counter_entries), _ENTRY.session != "")
        unsettled = own.group_by(_ENTRY.session).having(is_unsettled)
        query = self._store.select(counter_entries).where(_ENTRY.session.in_(unsettled)).order_by(_ENTRY.id)
        return tuple(_entry(row) for row in self._store.rows(query))

    def last_count(self) -> CounterEntry | None:
        """Return the entry of the last count of the till."""
        query = self._store.select(counter_entries).where(_ENTRY.action == CounterAction.COUNT)
        rows = self._store.rows(query.order_by(_ENTRY.id.desc()).limit(1))
        return _entry(rows[0]) if rows else None

    def payments(self, after: int, since: float, currency: str) -> dict[str, int]:
        """Return what was paid since an instant, in entries after the one with the id `after`, by who took it."""
        is_it = (_ENTRY.id > after) & (_ENTRY.at >= since) & (_ENTRY.taken != 0) & (_ENTRY.currency == currency)
        query = select(_ENTRY.actor, func.sum(_ENTRY.taken).label("sum")).where(self._store.own(counter_entries), is_it)
        rows = self._store.rows(query.group_by(_ENTRY.actor))
        return {row._mapping["actor"]: int(row._mapping["sum"]) for row in rows}

    def session(self, session_id: str) -> Session | None:
        """Return a session, also one that is over."""
        rows = self._store.rows(self._store.select(sessions).where(sessions.c.id == session_id))
        return Session(**rows[0]._mapping) if rows else None

    def count(self, actor: str, action: CounterAction, kinds: Collection[str] | None, since: float) -> int:
        """Return how many of something a person has done since an instant, of these kinds or, for None, of all.

        Ends, and what undoes them, count only before their time.
        """
        is_it = (_ENTRY.actor == actor) & (_ENTRY.action == action) & (_ENTRY.at >= since)
        if kinds is not None:
            is_it &= _ENTRY.kind.in_(list(kinds))
        if action in (CounterAction.END, CounterAction.REOPEN):
            is_it &= _ENTRY.minutes > 0
        query = select(func.coalesce(func.sum(_ENTRY.count), 0)).where(self._store.own(counter_entries), is_it)
        return int(self._store.scalar(query))

    def staff(self) -> tuple[StaffRow, ...]:
        """Return everybody who works at the counter, by name."""
        return tuple(
            StaffRow(**row._mapping) for row in self._store.rows(self._store.select(staff).order_by(staff.c.name))
        )

    def put_staff(self, row: StaffRow) -> None:
        """Add somebody, or replace their role and PIN."""
        statement = self._store.upsert(staff, lambda new: {"role": new.role, "pin": new.pin})
        self._store.execute(statement.values(**asdict(row)))

    def remove_staff(self, name: str) -> bool:
        """Remove somebody. Return False if nobody of this name works there."""
        return bool(self._store.execute(self._store.delete(staff).where(staff.c.name == name)))
