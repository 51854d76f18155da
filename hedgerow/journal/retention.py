"""Retention: deleting what is older than its limits, in small transactions between which the recorder goes on."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.sightings import forget_brief_strangers
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import (
    access_requests,
    counter_entries,
    daily,
    decisions,
    devices_seen,
    events,
    grants,
    hosts_seen,
    hourly,
    pauses,
    wishes,
    writers,
)

log = logging.getLogger("hedgerow.journal")

_DAY_S = 86400.0
_CHUNK = 1000  # rows per transaction
_PAUSE_BETWEEN_CHUNKS_S = 0.05  # without it, this thread would take the lock again before the writer wakes up


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits: days of decisions and, in a file, their number; and days of everything else."""

    days: float = 30.0
    rows: int = 20_000_000
    summary_days: float = 400.0


def prune(store: Store, retention: Retention, now: float, writing: threading.Lock) -> int:
    """Delete what is older than the retention allows.

    Returns the number of decisions deleted, 0 after a database error.

    `writing` is held during each transaction.
    """
    try:
        with store.begin() as connection:
            store.dialect.prepare_days(connection, now, now)
        deleted = _prune_decisions(store, retention, now - retention.days * _DAY_S, writing)
        if deleted or not store.dialect.is_partitioned:  # a server may hold many sites' decisions
            forget_hosts(store, writing)
        with writing:
            _prune_summaries(store, now - retention.summary_days * _DAY_S, now - _DAY_S)
    except DatabaseError as error:
        log.warning("The journal's old entries can't be deleted: %s", cause_of(error))
        return 0
    return deleted


def _prune_decisions(store: Store, retention: Retention, limit: float, writing: threading.Lock) -> int:
    """Delete decisions from before an instant, by the day where days are kept apart, and those of one site beyond their
    number.
    """
    if not store.rights.may_manage:
        return 0  # the owner of the tables drops the days
    if store.dialect.is_partitioned:
        first_kept = limit // _DAY_S * _DAY_S
        dropped = store.dialect.drop_days(store.engine, first_kept) if store.rights.site is None else 0
        # also those that are in no table of a day
        return dropped + _delete_in_chunks(store, decisions.c.at < first_kept, writing)
    newest = store.scalar(select(func.max(decisions.c.id)).where(store.own(decisions))) or 0
    # One after the other: for both at once SQLite would collect all rows before it deletes the first.
    too_many, too_old = decisions.c.id <= newest - retention.rows, decisions.c.at < limit
    return sum(_delete_in_chunks(store, condition, writing) for condition in (too_many, too_old))


def forget_decisions(store: Store, people: Mapping[str, int], profiles: Mapping[str, int], now: float) -> int:
    """Delete decisions after their own number of days: those of `people` by name, and those of nobody's devices by
    profile.

    Returns their number. Waits for the disk: call it from a thread. A role that may only add decisions deletes none.
    """
    if not store.rights.may_manage:
        return 0
    person, profile, at = decisions.c.person, decisions.c.profile, decisions.c.at
    old = [(person == name) & (at < now - days * _DAY_S) for name, days in people.items()]
    old += [person.is_(None) & (profile == name) & (at < now - days * _DAY_S) for name, days in profiles.items()]
    deleted = sum(_delete_in_chunks(store, condition, contextlib.nullcontext()) for condition in old)
    if deleted:
        forget_hosts(store)
    return deleted


def forget_hosts(store: Store, guard: AbstractContextManager[object] | None = None) -> int:
    """Delete the hosts that no longer have a decision.

    Returns their number. `guard` is held during each transaction.
    """
    is_used = (
        select(decisions.c.id)
        .where(decisions.c.host_key == hosts_seen.c.host_key, decisions.c.site == hosts_seen.c.site)
        .exists()
    )
    unused = store.rows(select(hosts_seen.c.host_key).where(store.own(hosts_seen), ~is_used))
    deleted = 0
    for keys in batched((row.host_key for row in unused), _CHUNK):
        with guard or contextlib.nullcontext(), store.begin() as connection:
            deleted += connection.execute(
                store.delete(hosts_seen).where(hosts_seen.c.host_key.in_(keys), ~is_used)
            ).rowcount
    return deleted


def _delete_in_chunks(store: Store, condition: ColumnElement[bool], guard: AbstractContextManager[object]) -> int:
    chunk = select(decisions.c.id).where(store.own(decisions), condition).limit(_CHUNK)
    deleted = 0
    while True:
        with guard, store.begin() as connection:
            count = connection.execute(decisions.delete().where(decisions.c.id.in_(chunk), condition)).rowcount
        deleted += count
        if count < _CHUNK:
            return deleted
        time.sleep(_PAUSE_BETWEEN_CHUNKS_S)


def _is_old_entry(store: Store, before: float) -> ColumnElement[bool]:
    """Return the condition for old entries of the counter but the last one, which the next one is linked to."""
    last = select(func.max(counter_entries.c.number)).where(store.own(counter_entries)).scalar_subquery()
    number = counter_entries.c.number
    return (counter_entries.c.at < before) & (number.is_(None) | (number < last))


def _prune_summaries(store: Store, before: float, yesterday: float) -> None:
    old = {
        hourly: hourly.c.hour < math.ceil(before / 3600),
        daily: daily.c.day < int(before // _DAY_S),
        events: events.c.at < before,
        devices_seen: devices_seen.c.last_seen < before,
        access_requests: (access_requests.c.last_at < before) & (access_requests.c.state != "open"),
        wishes: func.coalesce(wishes.c.answered_at, wishes.c.last_at) < before,
        grants: func.coalesce(grants.c.revoked_at, grants.c.ends) < before,
        pauses: func.coalesce(pauses.c.ended_at, pauses.c.ends) < before,
        writers: writers.c.at < before,
        counter_entries: _is_old_entry(store, before),
    }
    if not store.rights.may_manage:
        del old[events], old[counter_entries]
    with store.begin() as connection:
        for table, condition in old.items():
            connection.execute(store.delete(table).where(condition))
        forget_brief_strangers(store, connection, yesterday)
