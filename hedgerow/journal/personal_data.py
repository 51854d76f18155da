"""All that the journal keeps about somebody: to be shown, handed out, and erased for good.

What is in force stays: open grants, pauses, sessions and codes, and the minutes of a budget that still counts them. So does the list of
devices, for those that the policy names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, false, func, or_, select, true
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.outbox import WAITING
from hedgerow.journal.reader import reversed_labels
from hedgerow.journal.tables import (
    access_requests,
    bonuses,
    codes,
    daily,
    decisions,
    devices_seen,
    events,
    grants,
    hourly,
    notices,
    pauses,
    sittings,
    usage,
)  # fmt: skip

_CHUNK = 5000  # rows a transaction, so that erasing never keeps the recorder waiting
_CHECKPOINT_TRIES = 6  # how often the log is tried to be emptied while somebody reads, for five seconds each time
_SECRET = frozenset({"digest"})


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """How many rows of what were erased; `problem` says in a sentence why traces of them may be left in the file, empty otherwise."""

    rows: dict[str, int]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DataSubject:
    """About whom: a person, and the devices that are nobody else's; or devices alone.

    `since`: nothing that began before that instant.
    """

    person: str | None
    devices: frozenset[str]
    since: float = 0.0

    @property
    def names(self) -> frozenset[str]:
        return self.devices if self.person is None else self.devices | {self.person}

    @property
    def accounts(self) -> list[str]:
        """As minutes are counted."""
        return [f"device:{name}" for name in sorted(self.devices)] + ([f"person:{self.person}"] if self.person is not None else [])


@dataclass(frozen=True, slots=True)
class _PersonalData:
    """Rows of one table: which are somebody's, and which of these are over, so that they may be erased."""

    name: str
    table: Table
    of: Callable[[DataSubject], ColumnElement[bool]]
    at: ColumnElement[Any]  # when it begins: a sum over an hour or a day tells of all who were there in it
    is_over: Callable[[float, float], ColumnElement[bool]]  # by now, and the instant before which no budget counts minutes


def _of_both(table: Table) -> Callable[[DataSubject], ColumnElement[bool]]:
    """For tables with a person and a device. What is for everybody is nobody's."""

    def condition(whose: DataSubject) -> ColumnElement[bool]:
        person = table.c.person == whose.person if whose.person is not None else false()
        return or_(person, table.c.device.in_(whose.devices))

    return condition


def _of_devices(table: Table) -> Callable[[DataSubject], ColumnElement[bool]]:
    return lambda whose: table.c.device.in_(whose.devices)


def _of_accounts(table: Table) -> Callable[[DataSubject], ColumnElement[bool]]:
    return lambda whose: table.c.account.in_(whose.accounts)


def _notices_about(whose: DataSubject) -> ColumnElement[bool]:
    """Notices begin what they are of with a name."""
    key = notices.c.key
    return or_(key.in_(whose.names), *(key.startswith(f"{name} ", autoescape=True) for name in whose.names))


def _always(_now: float, _counted: float) -> ColumnElement[bool]:
    return true()


_PERSONAL_DATA = (
    _PersonalData("decisions", decisions, _of_both(decisions), decisions.c.at, _always),
    _PersonalData("sums by hour", hourly, _of_devices(hourly), hourly.c.hour * 3600, _always),
    _PersonalData("sums by day", daily, _of_devices(daily), daily.c.day * 86400, _always),
    _PersonalData("requests", access_requests, _of_both(access_requests), access_requests.c.at, _always),
    _PersonalData(
        "grants", grants, _of_both(grants), grants.c.starts, lambda now, _: func.coalesce(grants.c.revoked_at, grants.c.ends) < now
    ),
    _PersonalData(
        "pauses", pauses, _of_both(pauses), pauses.c.starts, lambda now, _: func.coalesce(pauses.c.ended_at, pauses.c.ends) < now
    ),
    _PersonalData("sessions", sittings, _of_both(sittings), sittings.c.starts, lambda now, _: sittings.c.ends < now),
    _PersonalData(
        "codes", codes, _of_both(codes), codes.c.made_at, lambda now, _: or_(codes.c.used_at.is_not(None), codes.c.expires < now)
    ),
    _PersonalData("minutes", usage, _of_accounts(usage), usage.c.hour * 3600, lambda _, counted: usage.c.hour * 3600 < counted - 3600),
    _PersonalData("minutes on top", bonuses, _of_accounts(bonuses), bonuses.c.at, lambda _, counted: bonuses.c.at < counted),
    _PersonalData("events", events, lambda whose: events.c.subject.in_(whose.names), events.c.at, _always),
    _PersonalData("notices", notices, _notices_about, notices.c.at, lambda _now, _counted: notices.c.state != WAITING),
    _PersonalData("devices", devices_seen, _of_devices(devices_seen), devices_seen.c.first_seen, _always),
)


class PersonalDataStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock

    def rows(self, whose: DataSubject) -> Iterator[dict[str, Any]]:
        """Each row that is kept, as it is kept, with `kept` saying what it is. Of codes the digits are known to nobody."""
        for drawer in _PERSONAL_DATA:
            with self._engine.connect() as connection:
                query = select(drawer.table).where(drawer.of(whose), drawer.at >= whose.since)
                for row in connection.execution_options(yield_per=1000).execute(query):
                    fields = {name: value for name, value in row._mapping.items() if name not in _SECRET}
                    if drawer.table is decisions:
                        fields["host"] = reversed_labels(fields.pop("host_key"))
                    yield {"kept": drawer.name, **fields}

    def erase(self, whose: DataSubject, counted: float, inventory: frozenset[str]) -> ErasureResult:
        """Deletes all that is over, from every byte of the journal's files.

        The file is written anew for that: nobody else can write meanwhile, and the disk needs room for it twice.

        `counted`: the instant from which some budget still counts minutes. `inventory`: devices that stay in the list of devices.
        """
        now = self._clock()
        erased = {}
        for drawer in _PERSONAL_DATA:
            condition = drawer.of(whose) & drawer.is_over(now, counted)
            if drawer.table is devices_seen:
                condition &= devices_seen.c.device.not_in(inventory)
            gone = self._erase_long(condition) if drawer.table is decisions else self._erase_short(drawer.table, condition)
            if gone:
                erased[drawer.name] = gone
        return ErasureResult(erased, self._rewrite())

    def _erase_short(self, table: Table, condition: ColumnElement[bool]) -> int:
        with self._engine.begin() as connection:
            return connection.execute(table.delete().where(condition)).rowcount

    def _erase_long(self, condition: ColumnElement[bool]) -> int:
        """In pieces, by the order of ids: no row is looked at twice, however many are somebody else's."""
        id, done, deleted = decisions.c.id, 0, 0
        while True:
            with self._engine.begin() as connection:
                found = connection.scalars(select(id).where(id > done, condition).order_by(id).limit(_CHUNK)).all()
                if not found:
                    return deleted
                deleted += connection.execute(decisions.delete().where(id > done, id <= found[-1], condition)).rowcount
            done = found[-1]

    def _rewrite(self) -> str:
        """Writes the file anew and empties its write-ahead log; says what went wrong, if something did.

        Deleting is not enough, not even with `secure_delete`: whenever SQLite moved rows from a full page to another, it left copies of
        them where no row is now.
        """
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
                checkpoints = (connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] for _ in range(_CHECKPOINT_TRIES))
                return "" if any(not is_busy for is_busy in checkpoints) else "Somebody reads the journal all the time."
        except DatabaseError as error:
            return f"The journal cannot be written anew: {error.orig}."
