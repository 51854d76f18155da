"""A café's statements: minutes in which the filter is on, one statement a day, and receipts for sites of a store."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.exc import DatabaseError, IntegrityError

from hedgerow.app.settings import Settings
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.dashboards.control import Status
from hedgerow.dashboards.coverage import oldest_age_hours, wanted_states
from hedgerow.features.cafe.audit import audit
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.statements.chain import (
    GRACE_S,
    Receipt,
    Statement,
    StatementKey,
    day_text,
    digest_of,
    filtering_minute,
    minute_ranges,
)
from hedgerow.features.statements.counter_check import counter_day
from hedgerow.features.statements.store import StatementStore
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store, cause_of
from hedgerow.policies.model import Policy
from hedgerow.policies.seats import is_adult_kind
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.task_state import Area, StatusRow
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

CHECK_S = 10.0
"""Seconds between looks at the state of the filter.

A minute counts if at least `_LOOKS` looks found it on, and none found it off.
"""
_LOOKS = 3
_MAX_LATE = 31
"""Days for which statements are made later. The minutes of the filter are kept for longer."""
FIRST_DAY = "first-day"
"""The file next to the key with the day from which on there are statements."""
ABOUT = "statements"
"""The name under which problems are reported."""
NO_STATEMENT = "there is no statement of the last day: "
"""The beginning of a problem's report, which the page says in the reader's language."""
REMEDY = "see the disk, the store and `statements/key.pem` in the state directory"
_DAY_S = 86400
_EPOCH = date(1970, 1, 1)


class StatementWriter:
    """The writer of this site's statements, where the policy has seats.

    `problem` says why none can be written, empty while they can.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        status: Callable[[], Status],
        policy: Callable[[], Policy],
        remember: Callable[[Sequence[ActiveMinute]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._store, self._status, self._policy = settings, store, status, policy
        self._remember, self._clock = remember, clock
        self._statements = StatementStore(store)
        self._key: StatementKey | None = None
        self._minute, self._on, self._off = -1, 0, 0
        self.problem = ""

    def key(self) -> StatementKey:
        """Return the site's key, which is made first if need be. Raises OSError and ValueError."""
        self._key = self._key or StatementKey.load_or_make(self._settings.statement_key)
        return self._key

    def status_rows(self) -> tuple[StatusRow, ...]:
        """Return the reason why no statement can be written."""
        if not self.problem:
            return ()
        return (StatusRow(ABOUT, f"{NO_STATEMENT}{self.problem}", REMEDY),)

    async def run(self) -> None:
        """Look at the filter and write statements that are due, until cancelled."""
        while True:
            if self.look():
                await asyncio.to_thread(self.write_due)
            await next_tick(CHECK_S)

    def look(self) -> bool:
        """Look at the filter. Returns True in the first look of a minute."""
        status, now = self._status(), self._clock()
        if status.clock_is_behind:
            return False
        is_new = (minute := int(now // 60)) != self._minute
        if is_new:
            if self._on >= _LOOKS and not self._off and self._has_seats():
                self._remember([filtering_minute(self._minute)])
            self._minute, self._on, self._off = minute, 0, 0
        is_on = status.rules_in_force and bool(status.workers) and not status.stopped_workers(now)
        self._on, self._off = self._on + is_on, self._off + (not is_on)
        return is_new

    def write_due(self) -> None:
        """Write the statements of all days that are over, and the receipts of other sites. Waits for the disk."""
        self._key = None  # the pages and the API give the public part of what is in its file now
        try:
            if self._has_seats():
                self._write_statements(self._clock())
            if self._store.rights.site is None and self._store.dialect.is_partitioned:
                self._statements.sign_receipts(self._receipt)
            problem = ""
        except IntegrityError:  # another node of this site was faster
            problem = ""
        except DatabaseError as error:
            problem = f"the store can't be read or written: {' '.join(cause_of(error).split())}"
        except (OSError, ValueError) as error:
            problem = f"the key {self._settings.statement_key} can't be used: {error_text(error)}"
        if problem and problem != self.problem:
            log.error("There is no statement of the last day: %s", problem)
        self.problem = problem

    def _has_seats(self) -> bool:
        return any(device.is_seat for device in self._policy().devices.values())

    def _write_statements(self, now: float) -> None:
        """Write a statement for each day that is over here and at the store.

        Raises DatabaseError, OSError and ValueError.
        """
        today, last = int(now // _DAY_S), self._statements.last()
        if (reached := self._statements.today()) is not None and reached < today:
            log.warning(
                "This machine's clock is ahead of that of the store: statements wait until it has reached the day"
            )
            today = reached
        day = self._first_day(today) if last is None else (date.fromisoformat(last.day) - _EPOCH).days + 1
        for due in range(max(day, today - _MAX_LATE), today):
            if now > (due + 1) * _DAY_S + GRACE_S:
                made = self._statement(due, last, now)
                self._statements.add(made, self.key().sign(made.text))
                last = made

    def _first_day(self, today: int) -> int:
        """Return the day of the first start with seats, which is noted then. Raises OSError.

        Days before it get no statement, whatever the journal has about them. A note that is not a day, or a day to
        come, such as that of a clock that was ahead, is made again.
        """
        file = self._settings.statement_key.with_name(FIRST_DAY)
        try:
            noted = (date.fromisoformat(file.read_text(encoding="ascii").strip()) - _EPOCH).days
        except (FileNotFoundError, ValueError):
            noted = today + 1
        if noted > today:
            noted = today
            self.key()  # makes the folder
            write_atomically(file, f"{day_text(today)}\n".encode())
        return noted

    def _statement(self, day: int, last: Statement | None, now: float) -> Statement:
        policy, status = self._policy(), self._status()
        counter = CounterStore(self._store)
        entries = counter.entries(day * _DAY_S, (day + 1) * _DAY_S)
        begun = [each for each in entries if _begins(each, counter)]
        is_late = now > (day + 2) * _DAY_S
        return Statement(
            site=self._store.site,
            number=last.number + 1 if last is not None else 1,
            previous=digest_of(last.text) if last is not None else "",
            key=self.key().fingerprint,
            day=day_text(day),
            made_at=f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            sessions=dict(Counter(each.kind for each in begun)),
            adults_opened_by=self._by_staff(entries, CounterAction.OPEN, CounterAction.ALLOW_ADULT),
            adult_vouchers_by=self._by_staff(entries, CounterAction.PRINT),
            blocks=_blocks(self._store, policy, day),
            filter_on=minute_ranges(self._statements.minutes_on(day)),
            list_age_hours=None if is_late else oldest_age_hours(status.lists, now),
            coverage=wanted_states(status.coverage),
            policies=self._statements.policies(day),
            conduct=hashlib.sha256(policy.conduct.text.encode()).hexdigest() if policy.conduct is not None else "",
            format=2,
            counter=counter_day(EntryChain(self._store), day, self._statements.last_counter()),
        )

    def _by_staff(self, entries: Sequence[CounterEntry], *actions: CounterAction) -> dict[str, int]:
        """Count the sessions, vouchers or openings that members of staff gave to adults, by their numbers."""
        profiles, found = self._policy().profiles, Counter[str]()
        for each in entries:
            if each.action in actions and (
                each.action is CounterAction.ALLOW_ADULT or is_adult_kind(each.kind, profiles)
            ):
                found[self.key().number_of(each.actor)] += each.count
        return dict(found)

    def _receipt(self, site: str, number: int, digest: str, at: int) -> Receipt:
        unsigned = Receipt(at, self.key().fingerprint, "")
        return Receipt(at, unsigned.key, self.key().sign(unsigned.text(site, number, digest)))


def statement_service(core: Core) -> ControlService:
    """Return the service that writes statements."""
    keeper = StatementWriter(
        settings=core.settings,
        store=core.store,
        status=core.control.status,
        policy=lambda: core.snapshots.policy,
        remember=core.recorder.add,
        clock=core.clock,
    )
    return ControlService(name="statements", run=keeper.run, area=Area.LOG, status=keeper.status_rows)


def _begins(entry: CounterEntry, counter: CounterStore) -> bool:
    """Return whether a session begins with an entry. A voucher begins one or extends it."""
    if entry.action is CounterAction.REDEEM:
        return counter.of_session(entry.session)[0].id == entry.id
    return entry.action is CounterAction.OPEN


def _blocks(store: Store, policy: Policy, day: int) -> dict[str, int]:
    """Count what was blocked at the seats by category, and by reason where there is none.

    Names of rules may be those of sites.
    """
    known, found = {category.name for category in builtin_categories()}, Counter[str]()
    when = _EPOCH + timedelta(days=day)
    for row in audit(JournalReader(store), policy, when, when):
        found[row.what if row.what in known else row.reason] += row.count
    return dict(found)
