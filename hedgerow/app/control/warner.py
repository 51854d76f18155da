"""Control's warnings: soon before a bedtime begins or minutes are used up, an event says so, once, to whoever wants to hear of it.

The child's own page shows the same at any time. Who has not been seen lately has nothing to stop, and is not warned.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from hedgerow.app.snapshot import View
from hedgerow.journal.record import Event
from hedgerow.policies.model import Policy, Reason
from hedgerow.policies.times.balances import Balance
from hedgerow.policies.times.endings import WARN_MINUTES, device_of_person, endings_of, told

log = logging.getLogger("hedgerow.warner")

LOOK_EVERY_S = 5.0
SEEN_LATELY_S = 600.0
KIND = "ending"


class Warner:
    """`balances` tells how the budgets of a policy stand; `tell` takes the events. `seen` is told who does something."""

    def __init__(
        self, view: Callable[[], View | None], balances: Callable[[Policy, float], tuple[Balance, ...]], tell: Callable[[Event], None]
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
            await asyncio.sleep(LOOK_EVERY_S)
            view = self._view()
            if view is not None:
                self.look(view, time.time())

    def look(self, view: View, now: float) -> None:
        """One look."""
        people = [person for name, person in view.policy.people.items() if now - self._seen.get(name, 0.0) < SEEN_LATELY_S]
        balances = self._balances(view.policy, now)
        near = {
            (person.name, ending.reason, ending.what): ending
            for person in people
            for ending in endings_of(view.rulesets, device_of_person(person), balances, now)
        }
        for key, ending in near.items():
            mark = min(mark for mark in WARN_MINUTES if ending.minutes <= mark)
            if mark < self._told.get(key, WARN_MINUTES[0] + 1):
                log.info("%s: %s", key[0], told(ending))
                self._tell(Event(now, KIND, key[0], told(ending), ending))
            self._told[key] = mark
        # What is no longer near was lengthened, or has ended: it is told of anew when it comes near again.
        self._told = {key: mark for key, mark in self._told.items() if key in near}
