"""Queries for the web pages, reports and API.

Decisions are found among millions, so each query goes by the index that reads a few thousand rows rather than the whole
journal. The newest come first by `id`, in which each index ends. A filter by host names a domain, whose hosts are few
among all: they are found among the recorded hosts, and of each host at most a page is read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, case, func, or_, select

from hedgerow.journal.sightings import DeviceRow as DeviceRow
from hedgerow.journal.sightings import SightingReader, since_hour
from hedgerow.journal.store import Store
from hedgerow.journal.tables import (
    access_requests,
    daily,
    decisions,
    events,
    grants,
    hosts_seen,
    hourly,
    pauses,
    reversed_labels,
    usage,
)
from hedgerow.policies.access_subject import AccessSubject, access_subject, service_or_address
from hedgerow.policies.model import DeviceId, Grant, Pause, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.time_model import PauseKind
from hedgerow.policies.times.budget import BudgetAccount

PAGE_LIMIT = 1000
"""Rows per page at most."""

HOSTS_LIMIT = 1000
"""Hosts of a domain that are looked up one by one.

A domain with more is common enough to fill a page from the newest decisions.
"""

_REQUESTS_OF_DEVICE = 10
_CLOCK_SLACK_S = 3600.0
_C = decisions.c


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """A filter of decisions: every field that is set must match.

    `host` includes all subdomains; `since` is inclusive, `before` is not. `not_reasons` and `not_whats` are left out.
    """

    device: str | None = None
    person: str | None = None
    verdict: Verdict | None = None
    reason: Reason | None = None
    kind: RequestKind | None = None
    host: str | None = None
    since: float | None = None
    before: float | None = None
    not_reasons: frozenset[Reason] = frozenset()
    not_whats: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A recorded decision.

    `id` is the order of writing, even if the clock went back; `count` is how often the decision was made.

    `version` is the id of the rules and lists that decided, None if it was not recorded.
    """

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
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Decisions, the newest first. `older` is the cursor of the next page, None on the last one."""

    rows: tuple[DecisionRow, ...]
    older: int | None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Decisions with the same verdict, reason and category or service (`what`), counted."""

    verdict: Verdict
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class DailyBlockedCount:
    """Blocked requests of one day with the same reason, counted. Days are numbered from the epoch."""

    day: int
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """Decisions for one device in one hour, counted. Hours are numbered from the epoch."""

    hour: int
    device: str
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class HourlyReasonCount:
    """Decisions for one device in one hour with the same verdict and reason, counted."""

    hour: int
    device: str
    verdict: Verdict
    reason: Reason
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request for access, or a chore that is done.

    `state` is open, approved or denied; `asked` counts how often it came while open.

    `why` is what the person who denied it said to it. `grant_id` is the permission or the minutes that the answer gave.
    A denied one has it too if it became a question to talk about, which has its own state.

    `subject` is what it is about: the service that the host belongs to, else the host, or a chore's minutes.
    """

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
    chore: str = ""
    answered_at: float | None = None
    answered_by: str | None = None
    grant_id: str | None = None
    why: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", self.chore or service_or_address(self.host, self.reason))

    @property
    def is_talked_about(self) -> bool:
        return self.state == "denied" and self.grant_id is not None

    def access_subject(self, policy: Policy, *, only_address: bool = False, only_device: bool = False) -> AccessSubject:
        """Return what a permission that answers it opens, and for whom."""
        return access_subject(
            policy,
            self.host,
            person=self.person,
            device=self.device,
            reason=self.reason,
            only_address=only_address,
            only_device=only_device,
        )

    def is_answered_with(self, other: RequestRow, policy: Policy) -> bool:
        """Return whether an answer to another request is one to this too: on a second device, or about another host of
        the app.
        """
        mine, theirs = self.access_subject(policy), other.access_subject(policy)
        is_same = (mine.what, mine.person, mine.device) == (theirs.what, theirs.person, theirs.device)
        return self.chore == other.chore == "" and is_same


@dataclass(frozen=True, slots=True)
class SystemEventRow:
    """An event in Hedgerow itself."""

    id: int
    at: float
    kind: str
    subject: str
    detail: str


class JournalReader(SightingReader):
    """Queries of the journal. Every method waits for the disk: call it from a thread."""

    def decisions(
        self, wanted: DecisionFilter | None = None, *, cursor: int | None = None, limit: int = 100
    ) -> DecisionPage:
        """Return at most `limit` (1 to 1000) of the newest decisions that match, from before `cursor`."""
        limit = max(1, min(limit, PAGE_LIMIT))
        with self.store.connect() as connection:
            query = _DecisionSearch(self.store, connection, wanted or DecisionFilter()).query(cursor, limit + 1)
            rows = tuple(decision_row(row) for row in connection.execute(query))
        return DecisionPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)

    def reasons(self, since: float, device: str | None = None) -> tuple[ReasonCount, ...]:
        """Count decisions by verdict, reason and category from the hour of `since` on, the most frequent first."""
        sums: Counter[tuple[str, str, str]] = Counter()
        for query in _sums_since(self.store, since, device):
            sums.update({(row.verdict, row.reason, row.what): int(row.total) for row in self.store.rows(query)})
        ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0][2]))
        return tuple(
            ReasonCount(Verdict(verdict), Reason(reason), what, total) for (verdict, reason, what), total in ordered
        )

    def blocked_by_day(self, devices: Sequence[str], first: int, last: int) -> tuple[DailyBlockedCount, ...]:
        """Count what was blocked at these devices together, from the day `first` to the day `last`."""
        key = (daily.c.day, daily.c.reason, daily.c.what)
        is_wanted = (
            daily.c.device.in_(devices) & daily.c.day.between(first, last) & (daily.c.verdict == Verdict.BLOCK.value)
        )
        query = (
            select(*key, func.sum(daily.c.count).label("total"))
            .where(self.store.own(daily), is_wanted)
            .group_by(*key)
            .order_by(*key)
        )
        return tuple(
            DailyBlockedCount(row.day, Reason(row.reason), row.what, int(row.total)) for row in self.store.rows(query)
        )

    def hours(self, since: float, among: Collection[str]) -> tuple[HourlyCount, ...]:
        """Count the decisions per hour from the hour of `since` on: per device of `among`, and those of all others
        under no name.
        """
        is_block = hourly.c.verdict == Verdict.BLOCK.value
        blocked = func.sum(case((is_block, hourly.c.count), else_=0)).label("blocked")
        device = case((hourly.c.device.in_(among), hourly.c.device), else_="").label("device")
        query = select(hourly.c.hour, device, (func.sum(hourly.c.count) - blocked).label("allowed"), blocked)
        query = query.where(since_hour(self.store, hourly, since)).group_by(hourly.c.hour, device)
        return tuple(
            HourlyCount(row.hour, row.device, int(row.allowed), int(row.blocked)) for row in self.store.rows(query)
        )

    def hourly_reasons(self, since: float) -> tuple[HourlyReasonCount, ...]:
        """Return all hourly sums from the hour of `since` on."""
        rows = self.store.rows(self.store.select(hourly).where(hourly.c.hour >= int(since // 3600)))
        return tuple(
            HourlyReasonCount(row.hour, row.device, Verdict(row.verdict), Reason(row.reason), row.what, row[-1])
            for row in rows
        )

    def use(self, since: float) -> dict[BudgetAccount, dict[int, int]]:
        """Return the marked minutes of use from the hour of `since` on."""
        marks: defaultdict[BudgetAccount, dict[int, int]] = defaultdict(dict)
        for row in self.store.rows(self.store.select(usage).where(usage.c.hour >= int(since // 3600))):
            marks[row.account, row.subject][row.hour] = int(row.minutes)
        return dict(marks)

    def requests_of(self, device: str) -> tuple[RequestRow, ...]:
        """Return one device's last requests in any state, the latest first."""
        return self._requests(access_requests.c.device == device, _REQUESTS_OF_DEVICE)

    def requests(self, state: str | None = "open", limit: int = 100) -> tuple[RequestRow, ...]:
        """Return the requests in a state (None: all), the latest first."""
        return self._requests(None if state is None else access_requests.c.state == state, limit)

    def count_open_requests(self) -> int:
        """Count the requests that wait for an answer."""
        is_open = access_requests.c.state == "open"
        return int(self.store.scalar(select(func.count()).where(self.store.own(access_requests), is_open)) or 0)

    def grants(self, now: float) -> tuple[Grant, ...]:
        """Return the grants in force at `now` or later, in the order of their beginning."""
        holds = grants.c.revoked_at.is_(None) & or_(grants.c.ends.is_(None), grants.c.ends > now)
        rows = self.store.rows(self.store.select(grants).where(holds).order_by(grants.c.starts, grants.c.id))
        return tuple(map(grant_of, rows))

    def pauses(self, now: float) -> tuple[Pause, ...]:
        """Return the pauses in force at `now` or later."""
        rows = self.store.rows(
            self.store.select(pauses).where(is_running_pause(now)).order_by(pauses.c.starts, pauses.c.id)
        )
        return tuple(map(pause_of, rows))

    def events(self, kind: str | None = None, limit: int = 100) -> tuple[SystemEventRow, ...]:
        """Return the events in Hedgerow itself, the latest first."""
        query = self.store.select(events).order_by(events.c.id.desc()).limit(min(limit, PAGE_LIMIT))
        if kind is not None:
            query = query.where(events.c.kind == kind)
        return tuple(SystemEventRow(**row._mapping) for row in self.store.rows(query))

    def _requests(self, condition: ColumnElement[bool] | None, limit: int) -> tuple[RequestRow, ...]:
        query = self.store.select(access_requests).order_by(access_requests.c.id.desc()).limit(min(limit, PAGE_LIMIT))
        rows = self.store.rows(query if condition is None else query.where(condition))
        return tuple(RequestRow(**row._mapping) for row in rows)


def grant_of(row: Row[Any]) -> Grant:
    return Grant(row.id, row.subject, row.actor, row.starts, row.ends, row.device, row.person, row.note)


def pause_of(row: Row[Any]) -> Pause:
    whom = (row.device, row.person, row.note, row.spared_person, row.spared_device)
    return Pause(row.id, row.actor, row.starts, row.ends, *whom, kind=PauseKind(row.kind))


class _DecisionSearch:
    """The query for one page of decisions, built with the help of a few short ones."""

    def __init__(self, store: Store, connection: Connection, wanted: DecisionFilter) -> None:
        self._store, self._connection, self._wanted = store, connection, wanted
        self._own, self._unindexed = store.own(decisions), store.dialect.unindexed

    def query(self, cursor: int | None, limit: int) -> Select[Any]:
        """Return the query for at most `limit` of the newest decisions that match, from before `cursor`."""
        conditions = self._plain_conditions()
        conditions += within_ids(self._store, self._connection, self._wanted.since, self._wanted.before)
        if cursor is not None:
            conditions.append(_C.id < cursor)
        query = self._store.select(decisions).order_by(_C.id.desc()).limit(limit)
        if not self._wanted.host:
            return query.where(*conditions)
        key = reversed_labels(self._wanted.host)
        hosts = self._hosts_of(key)
        if hosts is None:
            # Unindexed, since a large range would be sorted.
            column = self._unindexed(_C.host_key)
            return query.where(or_(column == key, is_below(column, key)), *conditions)
        return query.where(_C.id.in_(self._newest_of_each(hosts, conditions, limit)))

    def _plain_conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on single columns.

        With a host, none may use an index: the planner would read all rows of a device or verdict.
        """
        conditions: list[ColumnElement[bool]] = []
        for name in ("device", "person", "verdict", "reason", "kind"):
            value = getattr(self._wanted, name)
            if value is not None:
                conditions.append((self._unindexed(_C[name]) if self._wanted.host else _C[name]) == str(value))
        without = {"reason": self._wanted.not_reasons, "what": self._wanted.not_whats}
        conditions += [_C[name].not_in(sorted(map(str, values))) for name, values in without.items() if values]
        # Unindexed, since all decisions of that time would be sorted although only the newest few are wanted.
        at = self._unindexed(_C.at)
        if self._wanted.since is not None:
            conditions.append(at >= self._wanted.since)
        if self._wanted.before is not None:
            conditions.append(at < self._wanted.before)
        return conditions

    def _hosts_of(self, key: str) -> list[str] | None:
        """Return the recorded hosts of a domain, or None if there are more than `HOSTS_LIMIT`."""
        host_key = hosts_seen.c.host_key
        beneath = select(host_key).where(self._store.own(hosts_seen), is_below(host_key, key)).limit(HOSTS_LIMIT + 1)
        names = self._connection.scalars(beneath).all()
        return None if len(names) > HOSTS_LIMIT else [key, *names]

    def _newest_of_each(
        self, hosts: list[str], conditions: list[ColumnElement[bool]], limit: int
    ) -> Select[tuple[int]]:
        """Select the ids of the newest decisions of each host. The page is among them."""

        def newest(host_key: ColumnElement[str], columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
            return (
                select(*columns)
                .where(self._own, _C.host_key == host_key, *conditions)
                .order_by(_C.id.desc())
                .limit(limit)
            )

        return self._store.dialect.newest_of_each(hosts, newest, [_C.id])


def within_ids(
    store: Store, connection: Connection, since: float | None, before: float | None
) -> list[ColumnElement[bool]]:
    """Return conditions on the id that are true of all decisions from `since` on and before `before`, so that no others
    are read.

    They err on the wide side, since the clock may have gone back a little.
    """
    own, conditions = store.own(decisions), []
    if before is not None:
        is_later = _C.at >= before + _CLOCK_SLACK_S
        first_later = connection.scalar(select(_C.id).where(own, is_later).order_by(_C.at).limit(1))
        conditions += [] if first_later is None else [_C.id < first_later]
    if since is not None:
        is_earlier = _C.at < since - _CLOCK_SLACK_S
        last_earlier = connection.scalar(select(_C.id).where(own, is_earlier).order_by(_C.at.desc()).limit(1))
        conditions += [] if last_earlier is None else [_C.id >= last_earlier]
    return conditions


def is_below(column: ColumnElement[Any], key: str) -> ColumnElement[bool]:
    """The condition for subdomains: "/" follows "." in ASCII."""
    return and_(column > key + ".", column < key + "/")


def _sums_since(store: Store, since: float, device: str | None) -> list[Select[Any]]:
    """Sums by verdict, reason and category: whole days from `daily`, and the hours before them from `hourly`."""
    first_day = -(-int(since // 3600) // 24)
    parts: list[tuple[Table, ColumnElement[bool]]] = [
        (hourly, since_hour(store, hourly, since) & (hourly.c.hour < first_day * 24)),
        (daily, store.own(daily) & (daily.c.day >= first_day)),
    ]
    queries = []
    for table, condition in parts:
        key = (table.c.verdict, table.c.reason, table.c.what)
        query = select(*key, func.sum(table.c.count).label("total")).where(condition).group_by(*key)
        queries.append(query if device is None else query.where(table.c.device == device))
    return queries


def is_running_pause(now: float) -> ColumnElement[bool]:
    """The condition for pauses in force at `now` or later."""
    return pauses.c.ended_at.is_(None) & or_(pauses.c.ends.is_(None), pauses.c.ends > now)


def decision_row(row: Row[Any]) -> DecisionRow:
    fields = dict(row._mapping)
    fields.pop("site", None)  # of a query over all sites
    fields["host"] = reversed_labels(fields.pop("host_key"))
    return DecisionRow(
        **fields
        | {
            "kind": RequestKind(fields["kind"]),
            "verdict": Verdict(fields["verdict"]),
            "reason": Reason(fields["reason"]),
        }
    )
