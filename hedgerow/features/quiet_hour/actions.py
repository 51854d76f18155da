"""Actions that begin and end a quiet hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.features.quiet_hour.hours import QuietHour, quiet_hours

QUIET_HOUR_PATH = "/quiet-hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHourOrder(Order):
    """Length of a quiet hour in minutes."""

    minutes: Annotated[float, Gt(0), Le(480), Shown("For how long.", option="--minutes", least=1)] = 60


@action(
    "POST",
    QUIET_HOUR_PATH,
    status=201,
    form=FormOf(QUIET_HOUR_PATH),
    command=CommandOf(
        lambda answer, clock: (
            f"Quiet hour until {clock(answer['ends'])} for {', '.join([*answer['people'], *answer['devices']])}."
        )
    ),
)
async def begin_quiet_hour(core: Operations, caller: Caller, order: QuietHourOrder) -> QuietHour:
    """Close the internet for all children for a while. Adults stay online, and helplines stay reachable.

    It takes the place of a quiet hour that runs. Other pauses of a child go on.
    """
    now = core.clock()
    ends = now + order.minutes * 60
    return await core.part(quiet_hours).begin(core.control.policy(), caller.actor, starts=now, ends=ends)


@action(
    "DELETE",
    QUIET_HOUR_PATH,
    form=FormOf(f"{QUIET_HOUR_PATH}/end"),
    command=CommandOf(lambda: "The quiet hour is over."),
)
async def end_quiet_hour(core: Operations, caller: Caller) -> None:
    """End the quiet hour. Other pauses of a child go on."""
    await core.part(quiet_hours).end(caller.actor, core.clock())


QUIET_HOUR_ACTIONS = (begin_quiet_hour, end_quiet_hour)
