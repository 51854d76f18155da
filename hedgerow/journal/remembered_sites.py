"""Sites remembered for what their pages turned out to be, and the corrections of people in charge.

A row says nothing about who opened a page, and its date is all that it tells of when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from hedgerow.blocklists.names import registered_domain
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import remembered_sites

REMEMBERED_S = 30 * 86400.0
"""Seconds for which a page counts."""
MAX_SITES = 2000
"""Sites that are remembered at a time. The oldest make room for new ones."""
MAX_PER_DOMAIN = 20
"""Hosts of one registered domain, since anybody can make up as many as they like under theirs."""
MAX_CORRECTIONS = 5000
_SAME_PAGE_S = 86400.0  # a row is written again for newer pages only after a day

_ROW = remembered_sites.c


@dataclass(frozen=True, slots=True)
class RememberedRow:
    """A host and its topic. `at` is the instant of the last page, `ends` that from which it does not count any more."""

    host: str
    topic: str
    at: float
    ends: float


class RememberedSiteStore:
    """The store of remembered sites and corrections. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def current(self, now: float) -> tuple[RememberedRow, ...]:
        """Return the sites that are remembered at `now`, the newest first."""
        query = self._store.select(remembered_sites).where(_ROW.corrected_at.is_(None), _ROW.ends > now)
        rows = self._store.rows(query.order_by(_ROW.at.desc(), _ROW.host).limit(MAX_SITES))
        return tuple(RememberedRow(row.host, row.topic, row.at, row.ends) for row in rows)

    def remember(self, host: str, topic: str) -> bool:
        """Remember a host from now on.

        Return False if that changes nothing: it was corrected, is fresh, or its domain has too many.
        """
        now = self._clock()
        until = {"at": now, "ends": now + REMEMBERED_S}
        with self._store.begin() as connection:
            rows = connection.execute(self._store.select(remembered_sites).where(_ROW.host == host)).all()
            known = next((row for row in rows if row.topic == topic), None)
            if any(row.corrected_at is not None for row in rows):
                return False
            if known is not None and known.ends > now and known.at > now - _SAME_PAGE_S:
                return False
            if not rows and self._count(connection, registered_domain(host)) >= MAX_PER_DOMAIN:
                return False
            if known is None:
                self._make_room(connection)
            statement = self._store.upsert(remembered_sites, lambda _new: until)
            connection.execute(statement, [{"host": host, "topic": topic, **until}])
            return True

    def correct(self, host: str, actor: str) -> None:
        """Forget a host, and never remember it again. Raises `NoSuchEntry` if it is not remembered."""
        now = self._clock()
        change = self._store.update(remembered_sites).where(
            _ROW.host == host, _ROW.corrected_at.is_(None), _ROW.ends > now
        )
        if not self._store.execute(change.values(corrected_at=now, corrected_by=actor)):
            raise NoSuchEntry(f"{host} is not remembered")

    def prune(self) -> int:
        """Delete the sites whose time is over, and the oldest corrections beyond `MAX_CORRECTIONS`.

        Returns the number of the former.
        """
        deleted = self._store.execute(
            self._store.delete(remembered_sites).where(_ROW.corrected_at.is_(None), _ROW.ends <= self._clock())
        )
        newest = (
            self._store.select(remembered_sites)
            .where(_ROW.corrected_at.is_not(None))
            .order_by(_ROW.corrected_at.desc())
        )
        if rows := self._store.rows(newest.offset(MAX_CORRECTIONS).limit(1)):
            oldest = self._store.delete(remembered_sites).where(_ROW.corrected_at <= rows[0].corrected_at)
            self._store.execute(oldest)
        return deleted

    def _count(self, connection: Connection, domain: str) -> int:
        """Return the number of hosts that are remembered under a registered domain."""
        is_beneath = (_ROW.host == domain) | _ROW.host.endswith(f".{domain}", autoescape=True)
        is_counted = self._store.own(remembered_sites) & _ROW.corrected_at.is_(None) & is_beneath
        return connection.scalar(select(func.count(_ROW.host.distinct())).where(is_counted)) or 0

    def _make_room(self, connection: Connection) -> None:
        counted = self._store.select(remembered_sites).where(_ROW.corrected_at.is_(None)).order_by(_ROW.at.desc())
        for row in connection.execute(counted.offset(MAX_SITES - 1)):
            is_row = (_ROW.host == row.host) & (_ROW.topic == row.topic)
            connection.execute(self._store.delete(remembered_sites).where(is_row))
