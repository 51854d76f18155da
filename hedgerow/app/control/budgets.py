"""Control's count of minutes: what workers report goes in, what is used up comes out, and the journal keeps it over restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from sqlalchemy.exc import DatabaseError

from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import Activity, Bonus, Policy, Spent
from hedgerow.policies.times.balances import Balance, balances, spent_of
from hedgerow.policies.times.budget import mark, minute_of

log = logging.getLogger("hedgerow.budgets")

DAYS_COUNTED = 8
FRESH_S = 180.0


class BudgetKeeper:
    """Reads what is known already when it is made, from the disk. `record` and the rest only count; `save` writes, in a thread."""

    def __init__(self, store: UsageStore, *, clock: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock, self._steady = store, clock, steady
        self._marks = store.marks(clock() - DAYS_COUNTED * 86400)
        self._unsaved: list[Activity] = []
        self._counted: dict[Activity, float] = {}
        self.bonuses: tuple[Bonus, ...] = ()

    def load_bonuses(self) -> None:
        """Reads the minutes that were given on top; waits for the disk."""
        self.bonuses = self._store.bonuses(self._clock() - DAYS_COUNTED * 86400)

    def record(self, used: Iterable[Activity]) -> bool:
        """Counts minutes, each once however often it is told. True if any of them was new."""
        is_new = False
        for told in used:
            each = self._moved_by_the_clock(told)
            if mark(self._marks.setdefault((each.account, each.subject), {}), each.minute):
                is_new = True
                self._unsaved.append(each)
                self._counted[each] = self._steady()
        if len(self._counted) > 10_000:
            limit = self._steady() - FRESH_S
            self._counted = {each: at for each, at in self._counted.items() if at > limit}
        return is_new

    def _moved_by_the_clock(self, told: Activity) -> Activity:
        """A minute that clocks show a second time, because somebody set them back, is another minute: it takes the last free place."""
        counted = self._counted.get(told)
        is_now = abs(told.minute - minute_of(self._clock())) <= 1
        if counted is None or not is_now or self._steady() - counted < FRESH_S:
            return told
        marks = self._marks[told.account, told.subject]
        free = (minute for minute in range(told.minute - 1, told.minute - 1440, -1) if not marks.get(minute // 60, 0) >> minute % 60 & 1)
        self._counted[told] = self._steady()
        return Activity(next(free, told.minute), told.account, told.subject)

    def save(self) -> None:
        """Writes what is new; on a full disk it is kept for the next time."""
        batch, self._unsaved = self._unsaved, []
        try:
            self._store.add(batch)
        except DatabaseError as error:
            self._unsaved = batch + self._unsaved
            log.warning("Minutes of use can't be written and are tried again: %s", error.orig)

    def spent(self, policy: Policy, now: float) -> tuple[Spent, ...]:
        """All that is used up, or will be at the end of a minute that runs."""
        return spent_of(self.balances(policy, now))

    def balances(self, policy: Policy, now: float) -> tuple[Balance, ...]:
        """How every allowance of the policy stands."""
        return balances(policy, self._marks, self.bonuses, now)
