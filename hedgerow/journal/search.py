"""Finds decisions among millions: which index a filter goes by, so that a page costs some thousand rows and not the whole journal.

The newest come first by `id`, so each index ends in it. A filter by host names a domain, whose hosts are few among all: they are found by
hopping through the index from host to host, and of each at most a page is looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from hedgerow.journal.tables import decisions
from hedgerow.policies.model import Kind, Reason, Verdict

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
    kind: Kind | None = None
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
    newest = _bound(connection, wanted.before, cursor)
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


def _bound(connection: Connection, before: float | None, cursor: int | None) -> int | None:
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
