"""Counts of a café's till at the end of a shift.

A café has one till. A count covers all that was paid since the count before, whoever took it, so that two people at two
phones need not know whose coins are whose. Whoever counts signs with the PIN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le, MaxLen

from hedgerow.dashboards.actions.action import Caller, Order, Shown
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.features.cafe.cash import COUNT_NOTE, MOST, CashCount, till
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.refusals import TillChanged
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.staff import Staff, place_of, staff_of
from hedgerow.features.contract import Core


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOrder(Order):
    """The amount in the till, and how much of it stays there for the next shift, in the currency's smallest unit.

    `expected` and `last` are those of `/counter/till`, as whoever counts has seen them. `pin` is of whoever is on duty,
    and scripts need none. `currency` is that of the policy by default.
    """

    counted: Annotated[int, Ge(0), Le(MOST), Shown("What is in the till, in cents or the like.", "AMOUNT")]
    left: Annotated[int, Ge(0), Le(MOST), Shown("What stays there for the next shift.", option="--left")] = 0
    expected: Annotated[int, Ge(-MOST), Le(MOST), Shown("What `seat till` says is expected.", option="--expected")]
    last: Annotated[int, Ge(0), Shown("The last count, as `seat till` names it.", option="--last")]
    pin: Annotated[str, MaxLen(40)] = ""
    currency: Annotated[
        str | None, MaxLen(3), Shown("The currency (default: that of the policy).", "EUR", option="--currency")
    ] = None


class TillService:
    """Counts of the till."""

    def __init__(self, core: Core, counter: CounterService, staff: Staff) -> None:
        self._core, self._counter, self._staff = core, counter, staff

    async def count(self, order: CountOrder, caller: Caller) -> CashCount:
        """Record a count, signed by whoever is on duty.

        Raises `TillChanged` if something was paid or counted meanwhile, and `InvalidInput` for a wrong PIN, or if more
        is left than was counted.
        """
        if order.left > order.counted:
            raise InvalidInput("No more can stay in the till than was counted.").at("left")
        with at_field("pin"):
            await self._staff.sign(caller.principal, order.pin, place_of(self._core.control, caller.address))
        key = key_of(caller.key, CounterAction.COUNT)

        def count() -> CashCount:
            counter = self._counter
            if (done := counter.done_before(key)) is not None:
                return CashCount.of(done)
            counter.check_actor(caller.actor)
            now = self._core.clock()
            here = till(counter.store, self._core.policy, now, order.currency)
            if (here.last, here.expected) != (order.last, order.expected):
                raise TillChanged("Something was paid meanwhile, or the till was counted: see what is expected now.")
            note = COUNT_NOTE.format(here.expected, order.counted, order.left)
            entry = CounterEntry(now, caller.actor, CounterAction.COUNT, currency=here.currency, note=note, key=key)
            return CashCount.of(replace(entry, id=counter.store.add(entry)))

        return await self._counter.in_turn(count)


def till_of(core: Core) -> TillService:
    """Make the part of control for the till."""
    return TillService(core, core.part(counter_of), core.part(staff_of))
