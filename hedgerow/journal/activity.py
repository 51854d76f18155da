"""Activity: decisions of a time counted by host, hosts found by a part of their name, causes of a decision, and minutes
of use.

All queries are bounded. Of each device or host that is asked for, only the newest decisions are counted, and
`is_complete` says whether these are all.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, or_, select, union_all

from hedgerow.journal.reader import DecisionRow, decision_row, grant_of, is_below, pause_of, within_ids
from hedgerow.journal.store import Store
from hedgerow.journal.tables import decisions, grants, hosts_seen, pauses, reversed_labels
from hedgerow.policies.activity import BACKGROUND_CATEGORIES
from hedgerow.policies.model import Grant, Pause, Reason, RequestKind, Verdict
from hedgerow.policies.times.budget import MarkedMinutes, mark

SCAN_LIMIT = 20_000
"""Decisions that are counted for a page, at most."""

HOSTS_FOUND = 500
"""Hosts that a search takes into account, at most."""

_C = decisions.c
_KEY = ("host_key", "person", "device", "verdict", "reason", "what")
MAX_SUBJECTS = 300
"""Subjects kept per device and day. Further ones are left out."""

_CLOCK_SLACK_S = 3600.0


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """A filter of decisions.

    `devices` and `hosts` are alternatives each, None for all. `since` is inclusive, `before` is not.
    """

    since: float
    before: float
    devices: tuple[str, ...] | None = None
    person: str | None = None
    verdict: Verdict | None = None
    hosts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class HostActivity:
    """Decisions that differ in their time only, counted. `last` is the instant of the latest, `id` its row.

    `device` is empty where there is a person.
    """

    host: str
    person: str | None
    device: str
    verdict: Verdict
    reason: Reason
    what: str
    count: int
    last: float
    id: int


@dataclass(frozen=True, slots=True)
class Activity:
    """Activity that matches a filter, in no order.

    `is_complete` is False where only the newest decisions were counted.
    """

    hosts: tuple[HostActivity, ...]
    is_complete: bool


class ActivityReader:
    """Queries of activity. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def activity(self, wanted: ActivityFilter) -> Activity:
        """Count the decisions that match by host, person (or device without one), verdict and reason."""
        if wanted.hosts == () or wanted.devices == ():
            return Activity((), is_complete=True)
        with self._store.connect() as connection:
            rows = connection.execute(self.activity_query(connection, wanted)).all()
        # Counted here, since SQLite would sort the rows by all of these columns.
        counted: dict[tuple[Any, ...], list[Any]] = {}
        for id, at, count, host, person, device, verdict, reason, what in rows:
            key = (host, person, device if person is None else "", verdict, reason, what)
            known = counted.get(key)
            if known is None:
                counted[key] = [count, at, id]
                continue
            known[0] += count
            if id > known[2]:
                known[1:] = at, id
        part = (
            None
            if wanted.hosts is None and wanted.devices is None
            else "device"
            if wanted.hosts is None
            else "host_key"
        )
        largest = max(Counter(row._mapping[part] for row in rows).values(), default=0) if part else len(rows)
        return Activity(tuple(_host_activity(*key, *sums) for key, sums in counted.items()), largest < _limit(wanted))

    def activity_query(self, connection: Connection, wanted: ActivityFilter) -> Any:
        """Return the query for the newest decisions of all, or of each device or host.

        Short queries before it find the ids.
        """
        ids = within_ids(self._store, connection, wanted.since, wanted.before)
        conditions = [self._store.own(decisions), *ids, *self._conditions(wanted)]
        columns = [_C.id, _C.at, _C.count, *(_C[name] for name in _KEY)]
        newest = select(*columns).where(*conditions).order_by(_C.id.desc())
        if wanted.hosts is not None:
            return self._newest_of_hosts(wanted.hosts, conditions, columns, _limit(wanted))
        if wanted.devices is None:
            return newest.limit(_limit(wanted))
        parts = [
            select(newest.where(_C.device == device).limit(_limit(wanted)).subquery()) for device in wanted.devices
        ]
        return parts[0] if len(parts) == 1 else union_all(*parts)

    def find_hosts(self, text: str, domains: Iterable[str] = ()) -> tuple[str, ...]:
        """Return recorded hosts whose name contains `text`, and those of these domains; at most
        `HOSTS_FOUND` of each.
        """
        host, key = hosts_seen.c.host, hosts_seen.c.host_key
        # SQLite's LIKE treats a NUL as the end of the pattern.
        conditions = [host.contains(text.lower(), autoescape=True)] if text and text.isprintable() else []
        conditions += [or_(key == domain, is_below(key, domain)) for domain in map(reversed_labels, domains)]
        found: dict[str, None] = {}
        for condition in conditions:
            query = select(host).where(self._store.own(hosts_seen), condition).limit(HOSTS_FOUND)
            found |= dict.fromkeys(row.host for row in self._store.rows(query))
        return tuple(found)[: 2 * HOSTS_FOUND]

    def latest_hosts(self, devices: Sequence[str], limit: int) -> dict[str, dict[str, Verdict]]:
        """Return the hosts of the newest `limit` decisions of each device, the latest first, with its last verdict."""

        def newest(device: ColumnElement[str], wanted: Sequence[ColumnElement[Any]]) -> Select[Any]:
            mine = self._store.own(decisions), _C.device == device, _C.host_key != ""
            return select(*wanted).where(*mine).order_by(_C.id.desc()).limit(limit)

        columns = [_C.id, _C.device, _C.host_key, _C.verdict]
        rows = self._store.rows(self._store.dialect.newest_of_each(devices, newest, columns)) if devices else ()
        found: dict[str, dict[str, Verdict]] = {}
        for row in sorted(rows, key=lambda row: -row.id):
            found.setdefault(row.device, {}).setdefault(reversed_labels(row.host_key), _VERDICTS[row.verdict])
        return found

    def decision(self, row_id: int) -> DecisionRow | None:
        """Return a decision by its id, or None if it is not kept any more."""
        rows = self._store.rows(self._store.select(decisions).where(_C.id == row_id))
        return decision_row(rows[0]) if rows else None

    def grant_at(self, subject: str, at: float, device: str, person: str | None) -> Grant | None:
        """Return the latest grant of a subject in force for a device or its person at an instant."""
        c = grants.c
        holds = (c.subject == subject) & (c.starts <= at) & _is_after(c.ends, at) & _is_after(c.revoked_at, at)
        rows = self._store.rows(
            self._store.select(grants).where(holds, _is_for(c, device, person)).order_by(c.starts.desc()).limit(1)
        )
        return next(map(grant_of, rows), None)

    def pause_at(self, at: float, device: str, person: str | None) -> Pause | None:
        """Return the latest pause in force for a device, its person or everybody at an instant."""
        c = pauses.c
        holds = (c.starts <= at) & _is_after(c.ends, at) & _is_after(c.ended_at, at)
        holds &= c.spared_device.is_distinct_from(device) & (
            c.spared_person.is_(None) | c.spared_person.is_distinct_from(person)
        )
        rows = self._store.rows(
            self._store.select(pauses).where(holds, _is_for(c, device, person)).order_by(c.starts.desc()).limit(1)
        )
        return next(map(pause_of, rows), None)

    def _conditions(self, wanted: ActivityFilter) -> list[ColumnElement[bool]]:
        """The conditions on single columns. None may use an index: the planner would read all rows with that value."""
        unindexed = self._store.dialect.unindexed
        conditions = [unindexed(_C.at) >= wanted.since, unindexed(_C.at) < wanted.before]
        if wanted.person is not None:
            conditions.append(unindexed(_C.person) == wanted.person)
        if wanted.verdict is not None:
            conditions.append(unindexed(_C.verdict) == wanted.verdict.value)
        if wanted.hosts is not None and wanted.devices is not None:
            conditions.append(unindexed(_C.device).in_(wanted.devices))
        return conditions

    def _newest_of_hosts(
        self, hosts: Sequence[str], conditions: Sequence[ColumnElement[bool]], columns: Sequence[Any], limit: int
    ) -> Select[Any]:
        def newest(host_key: ColumnElement[str], wanted: Sequence[ColumnElement[Any]]) -> Select[Any]:
            return select(*wanted).where(_C.host_key == host_key, *conditions).order_by(_C.id.desc()).limit(limit)

        return self._store.dialect.newest_of_each([reversed_labels(host) for host in hosts], newest, columns)


_VERDICTS, _REASONS = {each.value: each for each in Verdict}, {each.value: each for each in Reason}
"""Much faster than the constructors of the enumerations, for many thousands of rows."""


def _host_activity(
    key: str, person: str | None, device: str, verdict: str, reason: str, what: str, count: int, last: float, id: int
) -> HostActivity:
    return HostActivity(
        reversed_labels(key), person, device, _VERDICTS[verdict], _REASONS[reason], what, count, last, id
    )


def _limit(wanted: ActivityFilter) -> int:
    """Return the number of decisions that are counted of each host, of each device, or of all together."""
    return max(1, SCAN_LIMIT // len(wanted.hosts or wanted.devices or "."))


def _is_after(column: ColumnElement[Any], at: float) -> ColumnElement[bool]:
    return or_(column.is_(None), column > at)


def _is_for(columns: Any, device: str, person: str | None) -> ColumnElement[bool]:
    """The condition for grants and pauses of a device, its person or everybody."""
    everybody = and_(columns.device.is_(None), columns.person.is_(None))
    return or_(everybody, columns.device == device, false() if person is None else columns.person == person)


@dataclass(slots=True)
class _DeviceDay:
    """The marked minutes of a device by subject. `last` is the newest decision read.

    `latest` has the newest decision about each of these subjects, and whether it is a block.
    """

    last: int
    minutes: dict[str, dict[int, int]] = field(default_factory=dict)
    latest: dict[str, tuple[int, bool]] = field(default_factory=dict)


class VisitReader:
    """Reader of the minutes of the current day in which devices used sites.

    Each reading continues where the last one ended.

    `subject_of` returns the service or site of a host, or None for a host that does not count. Blocks on the disk;
    thread-safe.
    """

    def __init__(self, store: Store, subject_of: Callable[[str], str | None]) -> None:
        self._store, self._subject_of = store, subject_of
        self._lock = threading.Lock()
        self._midnight = 0.0
        self._first = 0
        self._days: dict[str, _DeviceDay] = {}

    def minutes(self, devices: Iterable[str], midnight: float) -> Mapping[str, Mapping[str, MarkedMinutes]]:
        """Return the marked minutes since `midnight` by device and subject.

        Devices whose journal was erased meanwhile are read anew.
        """
        with self._lock:
            if midnight != self._midnight:
                self._midnight, self._days = midnight, {}
                is_earlier = _C.at < midnight - _CLOCK_SLACK_S
                last = select(_C.id).where(self._store.own(decisions), is_earlier).order_by(_C.at.desc()).limit(1)
                self._first = int(self._store.scalar(last) or 0)
            self._forget_erased()
            return {
                device: {subject: dict(marks) for subject, marks in self._read(device).minutes.items()}
                for device in devices
            }

    def blocked(self) -> Mapping[str, frozenset[str]]:
        """Return the subjects of each device that were open today and were blocked when they were last asked for."""
        with self._lock:
            return {
                device: frozenset(subject for subject, (_, is_block) in day.latest.items() if is_block)
                for device, day in self._days.items()
            }

    def _forget_erased(self) -> None:
        wanted = {day.last: device for device, day in self._days.items() if day.minutes}
        query = select(_C.id, _C.device).where(_C.id.in_(wanted))
        present = {row.device for row in self._store.rows(query) if wanted[row.id] == row.device}
        self._days = {device: day for device, day in self._days.items() if device in present}

    def _read(self, device: str) -> _DeviceDay:
        day = self._days.setdefault(device, _DeviceDay(self._first))
        rows = self._store.rows(self._new_visits(device, day.last))
        for row in sorted(rows, key=lambda row: row.verdict == Verdict.BLOCK.value):
            day.last = max(day.last, row.last)
            subject = self._subject_of(reversed_labels(row.host_key)) if row.host_key else None
            if subject is None:
                continue
            is_block = row.verdict == Verdict.BLOCK.value
            if not is_block and (subject in day.minutes or len(day.minutes) < MAX_SUBJECTS):
                mark(day.minutes.setdefault(subject, {}), int(row.minute))
            if subject in day.minutes:
                day.latest[subject] = max(day.latest.get(subject, (0, False)), (row.last, is_block))
        return day

    def _new_visits(self, device: str, last: int) -> Select[Any]:
        minute = self._store.dialect.floor(_C.at / 60).label("minute")
        is_new = (_C.device == device) & (_C.id > last) & (self._store.dialect.unindexed(_C.at) >= self._midnight)
        query = select(_C.host_key, minute, _C.verdict, func.max(_C.id).label("last"))
        unindexed = self._store.dialect.unindexed
        # A blocked advertisement or page does not close its site.
        closes = unindexed(_C.what).not_in(BACKGROUND_CATEGORIES) & (unindexed(_C.kind) != RequestKind.HTTP.value)
        counts = or_(unindexed(_C.verdict) != Verdict.BLOCK.value, closes)
        return query.where(self._store.own(decisions), is_new, counts).group_by(_C.host_key, minute, _C.verdict)
