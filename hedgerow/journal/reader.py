"""Finds decisions among millions: which index a filter goes by, so that a page costs some thousand rows and not the whole journal.

The newest come first by `id`, so each index ends in it. A filter by host names a domain, whose hosts are few among all: they are found by
hopping through the index from host to host, and of each at most a page is looked at.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Table, and_, case, func, or_, select

from hedgerow.journal.tables import access_requests, daily, decisions, devices_seen, events, grants, hourly, pauses, usage
from hedgerow.policies.model import DeviceId, Grant, Pause, Reason, RequestKind, Verdict

HOSTS_LIMIT = 1000
"""A domain with more hosts than this is common enough for the newest decisions to hold a page of it."""

_CLOCK_SLACK_S = 3600.0
_C = decisions.c


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions: every field given must hold. `host` finds the host and all its subdomains; instants are half-open."""

    device: str | None = None
    person: str | None = None
    verdict: Verdict | None = None
    reason: Reason | None = None
    kind: RequestKind | None = None
    host: str | None = None
    since: float | None = None
    before: float | None = None


def reversed_labels(host: str) -> str:
    """A host as the journal keeps it; its own inverse.

    >>> reversed_labels("www.example.org")
    'org.example.www'
    """
    return ".".join(reversed(host.split(".")))


def decisions_query(connection: Connection, wanted: DecisionFilter, cursor: int | None, limit: int) -> Select[tuple[object, ...]]:
    """The query for at most `limit` of the newest decisions that fit, from before `cursor`."""
    conditions = _plain_conditions(wanted, use_indexes=not wanted.host)
    newest = _id_before(connection, wanted.before, cursor)
    if newest is not None:
        conditions.append(_C.id < newest)
    oldest = _first_id_since(connection, wanted.since)
    if oldest is not None:
        conditions.append(_C.id >= oldest)
    query = select(decisions).order_by(_C.id.desc()).limit(limit)
    if not wanted.host:
        return query.where(*conditions)
    hosts = _hosts_of(connection, reversed_labels(wanted.host))
    if hosts is None:
        return query.where(_is_within(reversed_labels(wanted.host)), *conditions)
    return query.where(_C.id.in_(_newest_of_each(hosts, conditions, limit)))


def _plain_conditions(wanted: DecisionFilter, use_indexes: bool) -> list[ColumnElement[bool]]:
    """Without indexes where a host is wanted: SQLite would rather go by the device or verdict, and look at all of its rows."""
    conditions: list[ColumnElement[bool]] = []
    for name in ("device", "person", "verdict", "reason", "kind"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append((_C[name] if use_indexes else _C[name] + "") == str(value))
    # `at + 0`: by its index all decisions of the time would be sorted, where the newest few are wanted.
    moment = _C.at + 0.0
    if wanted.since is not None:
        conditions.append(moment >= wanted.since)
    if wanted.before is not None:
        conditions.append(moment < wanted.before)
    return conditions


def _id_before(connection: Connection, before: float | None, cursor: int | None) -> int | None:
    """An id that everything wanted lies below. The clock may have gone back by a while, so it is a little late rather than early."""
    if before is None:
        return cursor
    after = _C.at >= before + _CLOCK_SLACK_S
    first_after = connection.scalar(select(_C.id).where(after).order_by(_C.at).limit(1))
    known = [bound for bound in (cursor, first_after) if bound is not None]
    return min(known, default=None)


def _first_id_since(connection: Connection, since: float | None) -> int | None:
    """An id that nothing wanted lies below, None where all may be."""
    if since is None:
        return None
    earlier = _C.at < since - _CLOCK_SLACK_S
    return connection.scalar(select(_C.id).where(earlier).order_by(_C.at.desc()).limit(1))


def _is_within(key: str) -> ColumnElement[bool]:
    # "/" follows "." in ASCII. Adding nothing keeps SQLite from sorting all of a large range.
    column = _C.host_key + ""
    return or_(column == key, and_(column > key + ".", column < key + "/"))


def _hosts_of(connection: Connection, key: str) -> list[str] | None:
    """The hosts of a domain that the journal knows, or None if they are more than `HOSTS_LIMIT`."""
    first = select(func.min(_C.host_key).label("host_key")).where(_C.host_key > key + ".", _C.host_key < key + "/")
    hosts = first.cte("hosts", recursive=True)
    before = hosts.alias()
    following = select(func.min(_C.host_key)).where(_C.host_key > before.c.host_key, _C.host_key < key + "/").scalar_subquery()
    hosts = hosts.union_all(select(following).where(before.c.host_key.is_not(None)))
    found = [name for name in connection.scalars(select(hosts.c.host_key).limit(HOSTS_LIMIT + 1)) if name is not None]
    return None if len(found) > HOSTS_LIMIT else [key, *found]


def _newest_of_each(hosts: list[str], conditions: list[ColumnElement[bool]], limit: int) -> Select[tuple[int]]:
    """The ids of a page of each host: what is wanted is among them."""
    names = func.json_each(json.dumps(hosts)).table_valued("value", name="wanted_hosts")
    newest = select(_C.id).where(_C.host_key == names.c.value, *conditions).order_by(_C.id.desc()).limit(limit)
    found = decisions.alias("found")
    return select(found.c.id).select_from(names.join(found, found.c.id.in_(newest.correlate(names))))


PAGE_LIMIT = 1000
"""Rows of one page at most."""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision as remembered. `id` orders the journal, also when the clock went back; `count` is how often it fell."""

    id: int
    at: float
    device: DeviceId
    person: str | None
    profile: str
    kind: RequestKind
    verdict: Verdict
    reason: Reason
    what: str
    host: str
    url: str
    rule: str
    count: int


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """The newest first; `older` is the cursor of the next page, None when this is the last."""

    rows: tuple[DecisionRow, ...]
    older: int | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device that showed itself; `allowed` and `blocked` count its decisions since the instant that the caller named."""

    device: DeviceId
    address: str
    mac: str | None
    name: str
    person: str | None
    profile: str
    first_seen: float
    last_seen: float
    allowed: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often a verdict fell for a reason (and a category, service, …) in some time."""

    verdict: Verdict
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class DailyBlockedCount:
    """How often something was blocked for a reason on one day; `day` counts from the epoch."""

    day: int
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """What was decided for one device in one hour; `hour` counts from the epoch."""

    hour: int
    device: str
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class HourlyReasonCount:
    """What was decided for one device in one hour, and why."""

    hour: int
    device: str
    verdict: Verdict
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class UsageCount:
    """Minutes of one hour that somebody used: `account` is `person:NAME` or `device:ID`, `subject` empty for all use."""

    hour: int
    account: str
    subject: str
    minutes: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request for access. `state` is open, approved or denied; `asked` is how often the device asked while it was open."""

    id: int
    at: float
    last_at: float
    asked: int
    device: DeviceId
    person: str | None
    host: str
    url: str
    reason: str
    note: str
    state: str
    answered_at: float | None = None
    answered_by: str | None = None
    grant_id: str | None = None


@dataclass(frozen=True, slots=True)
class SystemEventRow:
    """Something that happened to Hedgerow itself."""

    id: int
    at: float
    kind: str
    subject: str
    detail: str


class JournalReader:
    """Answers from the journal. Every method reads the disk for a moment: call it from a thread where an event loop must not wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def devices(self, since: float) -> tuple[DeviceRow, ...]:
        """All devices seen, the latest first, with their counts from the hour of `since` on."""
        counts = self._counts_by_device(since)
        rows = self._all(select(devices_seen).order_by(devices_seen.c.last_seen.desc(), devices_seen.c.device))
        return tuple(
            DeviceRow(**row._mapping, blocked=counts.get((row.device, True), 0), allowed=counts.get((row.device, False), 0)) for row in rows
        )

    def decisions(self, wanted: DecisionFilter | None = None, *, cursor: int | None = None, limit: int = 100) -> DecisionPage:
        """The newest decisions that fit, from before `cursor`; at most `limit` (1 to 1000)."""
        limit = max(1, min(limit, PAGE_LIMIT))
        with self._engine.connect() as connection:
            query = decisions_query(connection, wanted or DecisionFilter(), cursor, limit + 1)
            rows = tuple(_decision(row) for row in connection.execute(query))
        return DecisionPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)

    def reasons(self, since: float, device: str | None = None) -> tuple[ReasonCount, ...]:
        """How often what was decided and why, from the hour of `since` on; the most frequent first."""
        sums: Counter[tuple[str, str, str]] = Counter()
        for query in _sums_since(since, device):
            sums.update({(row.verdict, row.reason, row.what): int(row.total) for row in self._all(query)})
        ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0][2]))
        return tuple(ReasonCount(Verdict(verdict), Reason(reason), what, total) for (verdict, reason, what), total in ordered)

    def blocked_by_day(self, devices: Sequence[str], first: int, last: int) -> tuple[DailyBlockedCount, ...]:
        """What was blocked at these devices together, from the day `first` to the day `last`."""
        key = (daily.c.day, daily.c.reason, daily.c.what)
        query = select(*key, func.sum(daily.c.count).label("total")).group_by(*key).order_by(*key)
        query = query.where(daily.c.device.in_(devices), daily.c.day.between(first, last), daily.c.verdict == Verdict.BLOCK.value)
        return tuple(DailyBlockedCount(row.day, Reason(row.reason), row.what, int(row.total)) for row in self._all(query))

    def hours(self, since: float) -> tuple[HourlyCount, ...]:
        """What was decided for each device in each hour, from the hour of `since` on."""
        is_block = hourly.c.verdict == Verdict.BLOCK.value
        blocked = func.sum(case((is_block, hourly.c.count), else_=0)).label("blocked")
        query = select(hourly.c.hour, hourly.c.device, (func.sum(hourly.c.count) - blocked).label("allowed"), blocked)
        query = query.where(hourly.c.hour >= int(since // 3600)).group_by(hourly.c.hour, hourly.c.device)
        return tuple(HourlyCount(row.hour, row.device, int(row.allowed), int(row.blocked)) for row in self._all(query))

    def hourly_reasons(self, since: float) -> tuple[HourlyReasonCount, ...]:
        """All hourly sums from the hour of `since` on."""
        rows = self._all(select(hourly).where(hourly.c.hour >= int(since // 3600)))
        fields = (row._mapping for row in rows)
        return tuple(
            HourlyReasonCount(**each | {"verdict": Verdict(each["verdict"]), "reason": Reason(each["reason"])})
            for each in map(dict, fields)
        )

    def use(self, since: float) -> tuple[UsageCount, ...]:
        """Minutes that were used, from the hour of `since` on."""
        rows = self._all(select(usage).where(usage.c.hour >= int(since // 3600)))
        return tuple(UsageCount(row.hour, row.account, row.subject, int(row.minutes).bit_count()) for row in rows)

    def requests_of(self, device: str, limit: int = 10) -> tuple[RequestRow, ...]:
        """What one device asked for, the latest first, answered or not."""
        query = select(access_requests).where(access_requests.c.device == device).order_by(access_requests.c.id.desc()).limit(limit)
        return tuple(RequestRow(**row._mapping) for row in self._all(query))

    def requests(self, state: str | None = "open", limit: int = 100) -> tuple[RequestRow, ...]:
        """Requests for access in a state (None: all), the latest first."""
        query = select(access_requests).order_by(access_requests.c.id.desc()).limit(min(limit, PAGE_LIMIT))
        if state is not None:
            query = query.where(access_requests.c.state == state)
        return tuple(RequestRow(**row._mapping) for row in self._all(query))

    def count_open_requests(self) -> int:
        """How many requests wait for an answer."""
        return int(self._all(select(func.count()).where(access_requests.c.state == "open"))[0][0])

    def grants(self, now: float) -> tuple[Grant, ...]:
        """Grants that hold at `now` or will hold, in the order in which they were given."""
        holds = grants.c.revoked_at.is_(None) & or_(grants.c.ends.is_(None), grants.c.ends > now)
        return tuple(_grant(row) for row in self._all(select(grants).where(holds).order_by(grants.c.starts, grants.c.id)))

    def pauses(self, now: float) -> tuple[Pause, ...]:
        """Pauses that hold at `now` or will hold."""
        holds = pauses.c.ended_at.is_(None) & or_(pauses.c.ends.is_(None), pauses.c.ends > now)
        rows = self._all(select(pauses).where(holds).order_by(pauses.c.starts, pauses.c.id))
        return tuple(pause_of(row) for row in rows)

    def events(self, kind: str | None = None, limit: int = 100) -> tuple[SystemEventRow, ...]:
        """What happened to Hedgerow itself, the latest first."""
        query = select(events).order_by(events.c.id.desc()).limit(min(limit, PAGE_LIMIT))
        if kind is not None:
            query = query.where(events.c.kind == kind)
        return tuple(SystemEventRow(**row._mapping) for row in self._all(query))

    def _counts_by_device(self, since: float) -> dict[tuple[str, bool], int]:
        is_block = (hourly.c.verdict == Verdict.BLOCK.value).label("is_block")
        query = select(hourly.c.device, is_block, func.sum(hourly.c.count).label("total"))
        query = query.where(hourly.c.hour >= int(since // 3600)).group_by(hourly.c.device, is_block)
        return {(row.device, bool(row.is_block)): int(row.total) for row in self._all(query)}

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()


def _sums_since(since: float, device: str | None) -> list[Select[Any]]:
    """Sums by verdict, reason and what, from the hour of `since` on: whole days from the sums by day, the hours before them."""
    first_hour = int(since // 3600)
    first_day = -(-first_hour // 24)
    parts: list[tuple[Table, ColumnElement[bool]]] = [
        (hourly, (hourly.c.hour >= first_hour) & (hourly.c.hour < first_day * 24)),
        (daily, daily.c.day >= first_day),
    ]
    queries = []
    for table, when in parts:
        total = func.sum(table.c.count).label("total")
        query = select(table.c.verdict, table.c.reason, table.c.what, total).where(when)
        query = query if device is None else query.where(table.c.device == device)
        queries.append(query.group_by(table.c.verdict, table.c.reason, table.c.what))
    return queries


def _decision(row: Row[Any]) -> DecisionRow:
    fields = dict(row._mapping)
    fields["host"] = reversed_labels(fields.pop("host_key"))
    return DecisionRow(
        **fields | {"kind": RequestKind(fields["kind"]), "verdict": Verdict(fields["verdict"]), "reason": Reason(fields["reason"])}
    )


def _grant(row: Row[Any]) -> Grant:
    return Grant(row.id, row.subject, row.giver, row.starts, row.ends, row.device, row.person, row.note)


def pause_of(row: Row[Any]) -> Pause:
    """The pause of a row of its table."""
    return Pause(row.id, row.giver, row.starts, row.ends, row.device, row.person, row.note)
