"""A café's counter: what was done there, by whom and for how much, and the staff who may do it.

Entries are only ever added, and each is linked to the one before it (`entry_chain.py`). What changes a session or makes
vouchers is written in the same transaction as its entry, so that a report made of the entries is complete. Amounts are
integers in the currency's smallest unit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from hedgerow.features.cafe.entry_chain import ChainedEntry, storable
from hedgerow.journal.store import Store
from hedgerow.journal.tables import counter_entries, sessions, staff, writers
from hedgerow.policies.model import Session

_ENTRY = counter_entries.c
_TURN, _TURN_S = "the counter", 15.0
"""The row for which nodes wait, and the longest time that one may have it or wait for it."""
_CHAIN = "the counter's chain"
"""The row for which the transactions wait that add entries."""
_LINK = ("number", "previous", "digest")
"""The columns of an entry's place in the chain."""


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
    UNDO = "undo"  # an opening or minutes are taken back; `note` is the action of that entry, `minutes` its minutes
    PAY = "pay"
    ARTICLE = "article"  # `note` is what is sold, `count` how many; negative if it is taken back
    DEPOSIT = "deposit"  # a member pays in, or gets back; `note` is the member's number
    CHARGE = "charge"  # from a member's balance, the counterpart of a payment; `note` as before
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


BEGINNINGS = frozenset({CounterAction.OPEN, CounterAction.REDEEM})
"""What a session can begin with."""


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
        """Write it after the last one in the chain, in the transaction of a connection. Returns its id."""
        entry = self._storable()
        linked = ChainedEntry.after(_last_link(store, connection), entry.chained_fields)
        row = {name: value for name, value in asdict(entry).items() if name != "id"}
        row |= {"number": linked.number, "previous": linked.previous, "digest": linked.digest}
        key = connection.execute(store.insert(counter_entries).values(row)).inserted_primary_key
        return int(key[0]) if key else 0

    def _storable(self) -> CounterEntry:
        """Return it with text that every store keeps as it is, so that what is digested is what is read later."""
        texts: dict[str, Any] = {
            name: storable(value)
            for name, value in asdict(self).items()
            if isinstance(value, str) and not isinstance(value, CounterAction)
        }
        return replace(self, **texts)

    @property
    def chained_fields(self) -> dict[str, str | int | float]:
        """The fields in the chain of the entries: those that have no default value, or another one."""
        found = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name != "id" and (each.default is MISSING or getattr(self, each.name) != each.default)
        }
        return found | {"at": float(self.at), "action": self.action.value}


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


def _was_ended(entries: Sequence[CounterEntry]) -> bool:
    """Return whether somebody has ended a session with these entries, or taken its opening back."""
    ends = (CounterAction.END, CounterAction.REOPEN)
    undone = (CounterAction.UNDO, CounterAction.OPEN.value)
    last = next((each for each in reversed(entries) if each.action in ends or (each.action, each.note) == undone), None)
    return last is not None and last.action is not CounterAction.REOPEN


def _last_link(store: Store, connection: Connection) -> tuple[int, str]:
    """Return the number and the digest of the last entry. No other transaction adds one until this one ends."""
    turn = {"writer": _CHAIN, "batch": 0, "at": time.time()}
    connection.execute(store.upsert(writers, lambda new: {"at": new.at}).values(turn))
    last = select(_ENTRY.number, _ENTRY.digest).where(store.own(counter_entries), _ENTRY.number.is_not(None))
    row = connection.execute(last.order_by(_ENTRY.number.desc()).limit(1)).first()
    return (row.number, row.digest) if row is not None else (0, "")


def _entry(row: Row[Any]) -> CounterEntry:
    values = {name: value for name, value in row._mapping.items() if name not in _LINK}
    return CounterEntry(**{**values, "action": CounterAction(row.action)})


def _chained(row: Row[Any]) -> ChainedEntry:
    try:
        found = _entry(row).chained_fields
    except ValueError:  # the name of an action that nobody but somebody with the file has written
        found = {"at": row.at, "actor": row.actor, "action": row.action}
    return ChainedEntry(row.number or 0, row.previous, row.digest, found)


def entries_by_session(store: Store, ids: Collection[str]) -> dict[str, list[CounterEntry]]:
    """Return the entries of several sessions, each in their order. Waits for the disk."""
    query = store.select(counter_entries).where(_ENTRY.session.in_(list(ids))).order_by(_ENTRY.id)
    found: dict[str, list[CounterEntry]] = {each: [] for each in ids}
    for row in store.rows(query):
        found[row.session].append(_entry(row))
    return found


class EntryChain:
    """The counter's entries in the store with their links. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entries(self, first: int = 0, last: int | None = None) -> tuple[ChainedEntry, ...]:
        """Return those without a number, and the entries from one number to another, in order, with their links."""
        is_meant = _ENTRY.number >= first
        if last is not None:
            is_meant &= _ENTRY.number <= last
        query = self._store.select(counter_entries).where(is_meant | _ENTRY.number.is_(None))
        rows = self._store.rows(query.order_by(func.coalesce(_ENTRY.number, 0), _ENTRY.id))
        return tuple(_chained(row) for row in rows)

    def last_link(self, before: float) -> tuple[int, str]:
        """Return the number and the digest of the last entry from before an instant; 0 and nothing without one."""
        query = self._store.select(counter_entries).where(_ENTRY.at < before, _ENTRY.number.is_not(None))
        rows = self._store.rows(query.order_by(_ENTRY.number.desc()).limit(1))
        return (rows[0].number, rows[0].digest) if rows else (0, "")


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
        """Return all entries of the sessions whose guests have paid less than they owe, or more.

        A session of which the beginning is too old to be kept has no balance.
        """
        is_unsettled = func.sum(_ENTRY.due - _ENTRY.taken) != 0
        own = select(_ENTRY.session).where(self._store.own(counter_entries), _ENTRY.session != "")
        is_whole = func.sum(case((_ENTRY.action.in_(BEGINNINGS), 1), else_=0)) > 0
        unsettled = own.group_by(_ENTRY.session).having(is_unsettled & is_whole)
        query = self._store.select(counter_entries).where(_ENTRY.session.in_(unsettled)).order_by(_ENTRY.id)
        return tuple(_entry(row) for row in self._store.rows(query))

    def ended_by_themselves(self, since: float, until: float) -> dict[str, float]:
        """Return the seats at which a session's time was over between two instants, and nobody ended it before, with
        the last of these ends.
        """
        rows = self._store.rows(self._store.select(sessions).where(sessions.c.ends.between(since, until)))
        ended = sorted((Session(**row._mapping) for row in rows), key=lambda each: each.ends or 0.0)
        return {
            each.device: each.ends or 0.0
            for each in ended
            if (entries := self.of_session(each.id)) and not _was_ended(entries)
        }

    def last_counts(self) -> dict[str, CounterEntry | None]:
        """Return the entry of the last count of the till in each currency in which something was paid or counted."""
        paid = select(_ENTRY.currency).where(self._store.own(counter_entries), _ENTRY.taken != 0).distinct()
        counts = self._store.select(counter_entries).where(_ENTRY.action == CounterAction.COUNT)
        found: dict[str, CounterEntry | None] = {row._mapping["currency"]: None for row in self._store.rows(paid)}
        return found | {row.currency: _entry(row) for row in self._store.rows(counts.order_by(_ENTRY.id))}

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
