"""Time budgets: counts the minutes of use that workers report, and warns people before their time ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from sqlalchemy.exc import DatabaseError

from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.journal.event_receiver import MessageBatch
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.recorder import SystemEvent
from hedgerow.journal.store import cause_of
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.expiry import WARN_MINUTES, device_of_person, ending_sentence, upcoming_ends
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Policy, Reason
from hedgerow.policies.time_model import ActiveMinute, Bonus, SpentBudget
from hedgerow.policies.times.budget import BudgetAccount, BudgetBalance, BudgetBook, mark, minute_of, spent_budgets
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.budgets")

DAYS_COUNTED = 8
FRESH_S = 180.0


class BudgetTracker:
    """Minutes of use by account and subject. The constructor and `save` access the disk; the other methods do not."""

    def __init__(
        self, store: UsageStore, *, clock: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._clock, self._steady = store, clock, steady
        self._marks = self.read_marks()
        self.unsaved: list[ActiveMinute] = []
        self._problem = ""
        self._counted: dict[ActiveMinute, float] = {}
        self.bonuses: tuple[Bonus, ...] = ()
        self._books: tuple[BudgetBook, ...] = ()

    def read_marks(self, seconds: float = DAYS_COUNTED * 86400) -> dict[BudgetAccount, dict[int, int]]:
        """Read the minutes of the last days, or of fewer seconds, from the disk."""
        return self._store.marks(self._clock() - seconds)

    def add_marks(self, marks: Mapping[BudgetAccount, Mapping[int, int]]) -> None:
        """Add minutes that others have counted. A minute that is counted here too counts once."""
        for key, hours in marks.items():
            known = self._marks.setdefault(key, {})
            for hour, minutes in hours.items():
                known[hour] = known.get(hour, 0) | minutes

    def load_bonuses(self) -> None:
        """Read the bonus minutes from the disk."""
        self.bonuses = self._store.bonuses(self._clock() - DAYS_COUNTED * 86400)

    def record(self, used: Iterable[ActiveMinute]) -> bool:
        """Count minutes, each once however often it is reported. Returns True if any was new."""
        is_new = False
        for entry in used:
            each = self._adjust_for_clock(entry)
            if mark(self._marks.setdefault((each.account, each.subject), {}), each.minute):
                is_new = True
                self.unsaved.append(each)
                self._counted[each] = self._steady()
        if len(self._counted) > 10_000:
            limit = self._steady() - FRESH_S
            self._counted = {each: at for each, at in self._counted.items() if at > limit}
        return is_new

    def _adjust_for_clock(self, reported: ActiveMinute) -> ActiveMinute:
        """Count a minute that comes twice, because the clock was set back, as the last uncounted minute before it."""
        counted = self._counted.get(reported)
        is_now = abs(reported.minute - minute_of(self._clock())) <= 1
        if counted is None or not is_now or self._steady() - counted < FRESH_S:
            return reported
        marks = self._marks[reported.account, reported.subject]
        free = (
            minute
            for minute in range(reported.minute - 1, reported.minute - 1440, -1)
            if not marks.get(minute // 60, 0) >> minute % 60 & 1
        )
        self._counted[reported] = self._steady()
        return ActiveMinute(next(free, reported.minute), reported.account, reported.subject)

    def rename(self, names: Mapping[DeviceId, DeviceId]) -> None:
        """Count the minutes of devices for their new names."""
        for account, subject in list(self._marks):
            new = names.get(DeviceId(account.removeprefix("device:"))) if account.startswith("device:") else None
            if new is not None:
                hours = self._marks.setdefault((f"device:{new}", subject), {})
                for hour, minutes in self._marks.pop((account, subject)).items():
                    hours[hour] = hours.get(hour, 0) | minutes

    def save(self) -> None:
        """Write new minutes to the journal.

        If the disk is full or the server away, they are kept for the next attempt.
        """
        batch, self.unsaved = self.unsaved, []
        try:
            self._store.add(batch)
            self._problem = ""
        except DatabaseError as error:
            self.unsaved = batch + self.unsaved
            if self._problem != cause_of(error):
                self._problem = cause_of(error)
                log.warning("Can't write minutes of use, will retry: %s", self._problem)

    def spent(self, policy: Policy, now: float) -> tuple[SpentBudget, ...]:
        """The budgets that are used up now or at the end of the running minute."""
        return spent_budgets(self.balances(policy, now))

    def balances(self, policy: Policy, now: float) -> tuple[BudgetBalance, ...]:
        """The balance of every budget of the policy."""
        return self.book(policy).balances(self._marks, self.bonuses, now)

    def book(self, policy: Policy) -> BudgetBook:
        """Return the book of a policy.

        That of a large new one takes a while, so it is opened in the thread that reads the policy.
        """
        book = next((each for each in self._books if each.policy is policy), None)
        if book is None:
            book = BudgetBook(policy)
            self._books = (book, *self._books[:1])  # for a moment, the policy before is still in force
        return book


_warnings_log = logging.getLogger("hedgerow.warner")

WARNING_INTERVAL_S = 5.0
SEEN_LATELY_S = 600.0
ENDING_EVENT = "ending"


class EndingNotifier:
    """Events some minutes before a person's time ends. Only people who were active lately are warned."""

    def __init__(
        self,
        view: Callable[[], LoadedSnapshot | None],
        balances: Callable[[Policy, float], tuple[BudgetBalance, ...]],
        emit: Callable[[SystemEvent], None],
    ) -> None:
        self._view, self._balances, self._emit = view, balances, emit
        self._seen: dict[str, float] = {}
        self._warned: dict[tuple[str, Reason, str], int] = {}

    def take(self, _batch: MessageBatch, seen: Observation | AccessRequest | DeviceSeen) -> None:
        """Take a message of a worker about somebody's use."""
        self.seen(seen.person, seen.when)

    def seen(self, person: str | None, when: float) -> None:
        if person is not None:
            self._seen[person] = when

    async def run(self) -> None:
        """Check every few seconds, until cancelled."""
        while True:
            await next_tick(WARNING_INTERVAL_S)
            view = self._view()
            if view is not None:
                self.check(view, time.time())

    def check(self, view: LoadedSnapshot, now: float) -> None:
        """Emit the warnings that are due."""
        people = [
            person for name, person in view.policy.people.items() if now - self._seen.get(name, 0.0) < SEEN_LATELY_S
        ]
        balances = self._balances(view.policy, now)
        near = {
            (person.name, ending.reason, ending.what): ending
            for person in people
            for ending in upcoming_ends(view.rulesets, device_of_person(person), balances, now)
        }
        for key, ending in near.items():
            mark = min(mark for mark in WARN_MINUTES if ending.minutes <= mark)
            if mark < self._warned.get(key, WARN_MINUTES[0] + 1):
                _warnings_log.info("%s: %s", key[0], ending_sentence(ending))
                self._emit(SystemEvent(now, ENDING_EVENT, key[0], ending_sentence(ending), ending))
            self._warned[key] = mark
        # An end that is no longer near was postponed or is over; a later one is announced again.
        self._warned = {key: mark for key, mark in self._warned.items() if key in near}
