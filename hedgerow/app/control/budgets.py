"""Control's count of minutes: what workers report goes in, what is used up comes out, and the journal keeps it over restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from sqlalchemy.exc import DatabaseError

from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.journal.recorder import SystemEvent
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.expiry import WARN_MINUTES, device_of_person, ending_sentence, upcoming_ends
from hedgerow.policies.model import Policy, Reason
from hedgerow.policies.time_model import ActiveMinute, Bonus, SpentBudget
from hedgerow.policies.times.budget import BudgetBalance, balances, mark, minute_of, spent_budgets

log = logging.getLogger("hedgerow.budgets")

DAYS_COUNTED = 8
FRESH_S = 180.0


class BudgetTracker:
    """Reads what is known already when it is made, from the disk. `record` and the rest only count; `save` writes, in a thread."""

    def __init__(self, store: UsageStore, *, clock: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock, self._steady = store, clock, steady
        self._marks = store.marks(clock() - DAYS_COUNTED * 86400)
        self._unsaved: list[ActiveMinute] = []
        self._counted: dict[ActiveMinute, float] = {}
        self.bonuses: tuple[Bonus, ...] = ()

    def load_bonuses(self) -> None:
        """Reads the minutes that were given on top; waits for the disk."""
        self.bonuses = self._store.bonuses(self._clock() - DAYS_COUNTED * 86400)

    def record(self, used: Iterable[ActiveMinute]) -> bool:
        """Counts minutes, each once however often it is told. True if any of them was new."""
        is_new = False
        for entry in used:
            each = self._moved_by_the_clock(entry)
            if mark(self._marks.setdefault((each.account, each.subject), {}), each.minute):
                is_new = True
                self._unsaved.append(each)
                self._counted[each] = self._steady()
        if len(self._counted) > 10_000:
            limit = self._steady() - FRESH_S
            self._counted = {each: at for each, at in self._counted.items() if at > limit}
        return is_new

    def _moved_by_the_clock(self, told: ActiveMinute) -> ActiveMinute:
        """A minute that clocks show a second time, because somebody set them back, is another minute: it takes the last free place."""
        counted = self._counted.get(told)
        is_now = abs(told.minute - minute_of(self._clock())) <= 1
        if counted is None or not is_now or self._steady() - counted < FRESH_S:
            return told
        marks = self._marks[told.account, told.subject]
        free = (minute for minute in range(told.minute - 1, told.minute - 1440, -1) if not marks.get(minute // 60, 0) >> minute % 60 & 1)
        self._counted[told] = self._steady()
        return ActiveMinute(next(free, told.minute), told.account, told.subject)

    def save(self) -> None:
        """Writes what is new; on a full disk it is kept for the next time."""
        batch, self._unsaved = self._unsaved, []
        try:
            self._store.add(batch)
        except DatabaseError as error:
            self._unsaved = batch + self._unsaved
            log.warning("Minutes of use can't be written and are tried again: %s", error.orig)

    def spent(self, policy: Policy, now: float) -> tuple[SpentBudget, ...]:
        """All that is used up, or will be at the end of a minute that runs."""
        return spent_budgets(self.balances(policy, now))

    def balances(self, policy: Policy, now: float) -> tuple[BudgetBalance, ...]:
        """How every allowance of the policy stands."""
        return balances(policy, self._marks, self.bonuses, now)


_warnings_log = logging.getLogger("hedgerow.warner")

WARNING_INTERVAL_S = 5.0
SEEN_LATELY_S = 600.0
ENDING_EVENT = "ending"


class EndingNotifier:
    """`balances` tells how the budgets of a policy stand; `tell` takes the events. `seen` is told who does something."""

    def __init__(
        self,
        view: Callable[[], LoadedSnapshot | None],
        balances: Callable[[Policy, float], tuple[BudgetBalance, ...]],
        tell: Callable[[SystemEvent], None],
    ) -> None:
        self._view, self._balances, self._tell = view, balances, tell
        self._seen: dict[str, float] = {}
        self._told: dict[tuple[str, Reason, str], int] = {}

    def seen(self, person: str | None, when: float) -> None:
        if person is not None:
            self._seen[person] = when

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(WARNING_INTERVAL_S)
            view = self._view()
            if view is not None:
                self.look(view, time.time())

    def look(self, view: LoadedSnapshot, now: float) -> None:
        """One look."""
        people = [person for name, person in view.policy.people.items() if now - self._seen.get(name, 0.0) < SEEN_LATELY_S]
        balances = self._balances(view.policy, now)
        near = {
            (person.name, ending.reason, ending.what): ending
            for person in people
            for ending in upcoming_ends(view.rulesets, device_of_person(person), balances, now)
        }
        for key, ending in near.items():
            mark = min(mark for mark in WARN_MINUTES if ending.minutes <= mark)
            if mark < self._told.get(key, WARN_MINUTES[0] + 1):
                _warnings_log.info("%s: %s", key[0], ending_sentence(ending))
                self._tell(SystemEvent(now, ENDING_EVENT, key[0], ending_sentence(ending), ending))
            self._told[key] = mark
        # What is no longer near was lengthened, or has ended: it is told of anew when it comes near again.
        self._told = {key: mark for key, mark in self._told.items() if key in near}
