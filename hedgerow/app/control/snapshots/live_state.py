"""The parts of a snapshot that come from the journal: grants, pauses, sessions, denials and remembered sites."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.snapshots.budgets import BudgetTracker
from hedgerow.app.snapshot import StartClock, denial_key
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import Grant, Pause, Session
from hedgerow.policies.remembered import RememberedSite

log = logging.getLogger("hedgerow.control")

DENIALS, DENIAL_SHOWN_S = 100, 1800.0
"""Denied requests in a snapshot, at most, and seconds for which block pages that wait are told."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """The parts of a snapshot that come from the journal; see `Snapshot`."""

    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]
    sessions: tuple[Session, ...]
    denied: dict[str, float]
    denial_reasons: dict[str, str]
    remembered: dict[str, tuple[RememberedSite, ...]]


class LiveStateReader:
    """Reader of the live state. `newest` is the last one that was meant for a snapshot.

    `is_live` is False while the store's server is away, and `newest` stays in force.
    """

    def __init__(self, store: Store, budgets: BudgetTracker) -> None:
        self._reader, self._usage, self._sites, self._budgets = (
            JournalReader(store),
            UsageStore(store),
            RememberedSiteStore(store),
            budgets,
        )
        self._may_pass = store.dialect.may_pass
        self.newest: LiveState | None = None
        self.is_live = True

    def read(self, now: float, clock: StartClock, timezone: str) -> LiveState:
        """Return the live state at `now`.

        While the clock is behind, it is the last one, without grants that end. Raises DatabaseError.
        """
        self._budgets.load_bonuses()
        then = clock.at_least(now)
        given = tuple(grant for grant in self._reader.grants(then) if grant.ends is None or not clock.is_behind)
        held = (given, self._reader.pauses(then), self._usage.sessions(then))
        return LiveState(*held, *self._recent_denials(now), self._remembered(then, ZoneInfo(timezone)))

    def read_for_snapshot(self, now: float, clock: StartClock, timezone: str) -> LiveState:
        """Read `newest`, which stays the same while the store's server is away. Raises DatabaseError."""
        try:
            self.newest = self.read(now, clock, timezone)
            self.is_live = True
        except DatabaseError as error:
            if self.newest is None or not self._may_pass(error):
                raise
            if self.is_live:
                log.error(
                    "The store can't be read, so what was last known of grants, pauses and sessions stays: %s",
                    cause_of(error),
                )
            self.is_live = False
        return self.newest

    def _recent_denials(self, now: float) -> tuple[dict[str, float], dict[str, str]]:
        """Return the denials that a child may still be waiting for, and their reasons.

        A newer request for the same subject has a newer ticket.
        """
        rows = reversed(self._reader.requests("denied", limit=DENIALS))
        recent = {
            denial_key(row.device, row.subject): row for row in rows if (row.answered_at or 0) > now - DENIAL_SHOWN_S
        }
        denied = {key: row.answered_at for key, row in recent.items() if row.answered_at is not None}
        return denied, {key: row.why for key, row in recent.items() if row.why}

    def _remembered(self, now: float, zone: ZoneInfo) -> dict[str, tuple[RememberedSite, ...]]:
        """Return the sites that are remembered for their pages, by host; none if they can't be read."""
        try:
            rows = self._sites.current(now)
        except DatabaseError as error:
            if self._may_pass(error):
                raise
            log.warning("The remembered sites can't be read: %s", error.orig)
            return {}
        found = dict[str, tuple[RememberedSite, ...]]()
        for row in rows:
            site = RememberedSite(row.topic, datetime.fromtimestamp(row.at, zone).date().isoformat())
            found[row.host] = (*found.get(row.host, ()), site)
        return found
