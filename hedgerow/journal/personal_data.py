"""Personal data in the journal: shown, exported, erased for good, and moved to the new name of a device.

What is in force stays: open grants, pauses, sessions and codes, and the minutes that a budget still counts. Devices
that the policy names stay in the list of devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, Table, false, func, literal, or_, select, true, tuple_

from hedgerow.journal.outbox import WAITING
from hedgerow.journal.retention import forget_hosts
from hedgerow.journal.store import Store
from hedgerow.journal.tables import (
    access_requests,
    agreements,
    bonuses,
    codes,
    daily,
    decisions,
    devices_seen,
    events,
    goals,
    grants,
    growing_up,
    hourly,
    legal_stages,
    notices,
    pauses,
    protections_seen,
    reversed_labels,
    rule_changes,
    rules_told,
    sessions,
    usage,
    wishes,
)
from hedgerow.policies.model import DeviceId

_CHUNK = 5000  # rows per transaction, so that erasing never blocks the recorder for long
_PIECE = 500  # rows of an export that are read at once
_SECRET = frozenset({"digest"})


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """Erased rows, counted by kind. `problem` is a sentence if traces may be left in the file, else empty."""

    rows: dict[str, int]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A person with the devices that belong to nobody else, or devices alone.

    Only rows that begin at `since` or later count. `asks_itself`: the export is for the person alone.
    """

    person: str | None
    devices: frozenset[str]
    since: float = 0.0
    asks_itself: bool = False

    @property
    def names(self) -> frozenset[str]:
        return self.devices if self.person is None else self.devices | {self.person}

    @property
    def accounts(self) -> list[str]:
        """The accounts under which minutes are counted."""
        return [f"device:{name}" for name in sorted(self.devices)] + (
            [f"person:{self.person}"] if self.person is not None else []
        )


type _SubjectCondition = Callable[[DataSubject], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """The personal rows of one table."""

    name: str
    table: Table
    of: _SubjectCondition
    at: ColumnElement[Any]  # a row's beginning; hourly and daily sums include all who used the device in that time
    # given the time, and the instant before which no budget counts minutes
    is_over: Callable[[float, float], ColumnElement[bool]]
    is_private: bool = False  # only the person may read them, and nobody learns whether there are any


def _of_both(table: Table) -> _SubjectCondition:
    """The condition for tables with a person and a device. Rows for everybody are nobody's."""

    def condition(subject: DataSubject) -> ColumnElement[bool]:
        person = table.c.person == subject.person if subject.person is not None else false()
        return or_(person, table.c.device.in_(subject.devices))

    return condition


def _of_person(table: Table) -> _SubjectCondition:
    return lambda subject: table.c.person == subject.person


def _of_devices(table: Table) -> _SubjectCondition:
    return lambda subject: table.c.device.in_(subject.devices)


def _of_accounts(table: Table) -> _SubjectCondition:
    return lambda subject: table.c.account.in_(subject.accounts)


def _notices_about(subject: DataSubject) -> ColumnElement[bool]:
    """A notice's key begins with the name of its person or device."""
    key = notices.c.key
    return or_(key.in_(subject.names), *(key.startswith(f"{name} ", autoescape=True) for name in subject.names))


def _always(_now: float, _counted: float) -> ColumnElement[bool]:
    return true()


def _never(_now: float, _counted: float) -> ColumnElement[bool]:
    """Keep the rows: what was announced is in force while the person is in the policy, and goes with it."""
    return false()


PERSONAL_DATA = (
    _Kind("decisions", decisions, _of_both(decisions), decisions.c.at, _always),
    _Kind("sums by hour", hourly, _of_devices(hourly), hourly.c.hour * 3600, _always),
    _Kind("sums by day", daily, _of_devices(daily), daily.c.day * 86400, _always),
    _Kind("requests", access_requests, _of_both(access_requests), access_requests.c.at, _always),
    _Kind("wishes", wishes, _of_both(wishes), wishes.c.at, _always),
    _Kind(
        "grants",
        grants,
        _of_both(grants),
        grants.c.starts,
        lambda now, _: func.coalesce(grants.c.revoked_at, grants.c.ends) < now,
    ),
    _Kind(
        "pauses",
        pauses,
        _of_both(pauses),
        pauses.c.starts,
        lambda now, _: func.coalesce(pauses.c.ended_at, pauses.c.ends) < now,
    ),
    _Kind("sessions", sessions, _of_both(sessions), sessions.c.starts, lambda now, _: sessions.c.ends < now),
    _Kind(
        "codes",
        codes,
        _of_both(codes),
        codes.c.made_at,
        lambda now, _: or_(codes.c.used_at.is_not(None), codes.c.expires < now),
    ),
    _Kind(
        "minutes",
        usage,
        _of_accounts(usage),
        usage.c.hour * 3600,
        lambda _, counted: usage.c.hour * 3600 < counted - 3600,
    ),
    _Kind("minutes on top", bonuses, _of_accounts(bonuses), bonuses.c.at, lambda _, counted: bonuses.c.at < counted),
    _Kind("events", events, lambda subject: events.c.subject.in_(subject.names), events.c.at, _always),
    _Kind("notices", notices, _notices_about, notices.c.at, lambda _now, _counted: notices.c.state != WAITING),
    _Kind("protections", protections_seen, _of_devices(protections_seen), protections_seen.c.at, _always),
    _Kind(
        "growing up",
        growing_up,
        _of_person(growing_up),
        growing_up.c.announced_at,
        _never,
    ),
    _Kind("agreement", agreements, _of_person(agreements), agreements.c.agreed_at, _always),
    _Kind("changes of rules", rule_changes, _of_person(rule_changes), rule_changes.c.at, _always),
    _Kind("rules told", rules_told, _of_person(rules_told), rules_told.c.raised_at, _never),
    _Kind("what the law closes", legal_stages, _of_person(legal_stages), legal_stages.c.announced_at, _never),
    _Kind("goals", goals, _of_person(goals), goals.c.at, _always, is_private=True),
    _Kind("devices", devices_seen, _of_devices(devices_seen), devices_seen.c.first_seen, _always),
)
_INVENTORY = (devices_seen, protections_seen)


class PersonalDataStore:
    """Export and erasure of personal data. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def pieces(self, subject: DataSubject) -> Iterator[list[dict[str, Any]]]:
        """Yield each row as it is stored, without digests, in lists of some hundred. `kept` names its kind.

        Between two lists no connection is in use, however long the caller takes. Rows of numbered tables that are
        written meanwhile are left out; a row of another table that changes appears once, as it was or as it is now.
        """
        for kind in PERSONAL_DATA:
            if kind.is_private and not subject.asks_itself:
                continue
            for rows in self._pages(kind, subject):
                yield [_exported(kind, row) for row in rows]

    def _pages(self, kind: _Kind, subject: DataSubject) -> Iterator[Sequence[Row[Any]]]:
        """Yield a kind's rows of a person in the order of their keys."""
        key = [column for column in kind.table.primary_key if column.name != "site"]
        query = (
            self._store.select(kind.table)
            .where(kind.of(subject), kind.at >= subject.since)
            .order_by(*key)
            .limit(_PIECE)
        )
        if [column.name for column in key] == ["id"] and isinstance(key[0].type, Integer):
            query = query.where(key[0] <= (self._store.scalar(select(func.max(key[0]))) or 0))
        after = query
        while rows := self._store.rows(after):
            yield rows
            if len(rows) < _PIECE:
                return
            after = query.where(
                tuple_(*key) > tuple_(*(literal(rows[-1]._mapping[column.name], column.type) for column in key))
            )

    def erase(self, subject: DataSubject, counted: float, inventory: frozenset[str]) -> ErasureResult:
        """Delete all that is over, and hosts that nobody else asked for, from every byte of the journal's files.

        The database is rewritten for that: nobody else can write meanwhile, and the disk needs room for a second copy.

        Arguments:
            counted: the instant from which some budget still counts minutes.
            inventory: devices that stay in the list of devices.
        """
        now = self._clock()
        erased = {}
        for kind in PERSONAL_DATA:
            condition = kind.of(subject) & kind.is_over(now, counted)
            if kind.table in _INVENTORY:
                condition &= kind.table.c.device.not_in(inventory)
            statement = self._store.delete(kind.table).where(condition)
            deleted = self._erase_decisions(condition) if kind.table is decisions else self._store.execute(statement)
            if deleted and not kind.is_private:
                erased[kind.name] = deleted
        forget_hosts(self._store)
        return ErasureResult(erased, self._store.dialect.purge_deleted(self._store.engine))

    def _erase_decisions(self, condition: ColumnElement[bool]) -> int:
        """Delete decisions in chunks, in the order of their ids, so that no row is read twice however many belong to
        others.
        """
        id, done, deleted = decisions.c.id, 0, 0
        mine = self._store.own(decisions) & condition
        while True:
            with self._store.begin() as connection:
                ids = connection.scalars(select(id).where(id > done, mine).order_by(id).limit(_CHUNK)).all()
                if not ids:
                    return deleted
                deleted += connection.execute(decisions.delete().where(id > done, id <= ids[-1], mine)).rowcount
            done = ids[-1]


def _exported(kind: _Kind, row: Row[Any]) -> dict[str, Any]:
    """Return a row as a person gets it."""
    fields = {name: value for name, value in row._mapping.items() if name not in _SECRET}
    if kind.table is decisions:
        fields["host"] = reversed_labels(fields.pop("host_key"))
    return {"kept": kind.name, **fields}


_COLUMNS = (
    *((table, "device") for table in (decisions, access_requests, wishes, grants, pauses, sessions, codes)),
    *((pauses, "spared_device"), (events, "subject")),
)
_KEYED = (
    (hourly, "count"),
    (daily, "count"),
    (usage, "minutes"),
    (protections_seen, "at"),
    (devices_seen, "last_seen"),
)
"""Tables with the device in their key, and the column that is merged where the new name has a row already."""


def rename_devices(store: Store, names: Mapping[DeviceId, DeviceId]) -> int:
    """Give the rows of each device to its new name. Returns their number. Waits for the disk: call it from a thread."""
    with store.begin() as connection:
        return sum(_rename(store, connection, old, new) for old, new in names.items())


def _rename(store: Store, connection: Connection, old: str, new: str) -> int:
    moved = 0
    for table, column in _COLUMNS:
        moved += connection.execute(store.update(table).where(table.c[column] == old).values({column: new})).rowcount
    change = store.update(bonuses).where(bonuses.c.account == f"device:{old}").values(account=f"device:{new}")
    moved += connection.execute(change).rowcount
    for table, column in _KEYED:
        name, before, after = ("account", f"device:{old}", f"device:{new}") if table is usage else ("device", old, new)
        rows = [
            dict(row._mapping) | {name: after}
            for row in connection.execute(store.select(table).where(table.c[name] == before))
        ]
        if rows:
            connection.execute(store.delete(table).where(table.c[name] == before))
            connection.execute(store.upsert(table, partial(_merged, store, table, column)), rows)
        moved += len(rows)
    return moved


def _merged(store: Store, table: Table, column: str, new: Any) -> dict[str, Any]:
    """Return the changes of a row that is there already under the new name."""
    old = table.c
    if table is usage:
        return {column: old[column].op("|")(new[column])}
    if column == "count":
        return {column: old[column] + new[column]}
    more = {"mac": func.coalesce(old.mac, new.mac)} if table is devices_seen else {}
    for text in ("address", "name") if table is devices_seen else ():
        more[text] = func.coalesce(func.nullif(old[text], ""), new[text])
    return {column: store.dialect.greatest(old[column], new[column]), **more}
