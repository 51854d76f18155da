"""Actions that undo a pause, the end of one, extra minutes, and a later bedtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MaxLen
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import GrantTarget, JournalId
from hedgerow.features.undo.before import JournalOfTime, journal_of_time
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.time_model import Bonus

type EntryId = Annotated[str, MaxLen(40)]


@dataclass(frozen=True, slots=True)
class UndonePause:
    """A pause that is over, and those that are in force again in its place."""

    ended: Pause
    again: tuple[Pause, ...]


@action("POST", "/pauses/{pause_id}/undo", status=200, form=FormOf("/pauses/{pause_id}/undo"))
async def undo_pause(core: Operations, caller: Caller, pause_id: EntryId) -> UndonePause:
    """End a pause that began in the last ten minutes. Those that it replaced and that would still run begin again."""
    journal: JournalOfTime = core.part(journal_of_time)
    ended, again = await run_in_threadpool(journal.end_pause, pause_id, caller.actor, core.clock())
    await journal.put_in_force()
    return UndonePause(ended, again)


@action("POST", "/resume/undo", status=201, form=FormOf("/resume/undo"))
async def undo_resume(core: Operations, caller: Caller, order: GrantTarget) -> tuple[Pause, ...]:
    """Begin the pauses again that were ended last for a person, a device or everybody, each until its end.

    They were ended in the last ten minutes.
    """
    journal: JournalOfTime = core.part(journal_of_time)
    again = await run_in_threadpool(
        journal.begin_pauses, device=order.device, person=order.person, actor=caller.actor, now=core.clock()
    )
    await journal.put_in_force()
    return again


@action("POST", "/bonuses/{bonus_id}/undo", status=200, form=FormOf("/bonuses/{bonus_id}/undo"))
async def undo_bonus(core: Operations, caller: Caller, bonus_id: EntryId) -> Bonus:
    """Take back extra minutes that were given in the last ten minutes, and return what they were."""
    journal: JournalOfTime = core.part(journal_of_time)
    given = await run_in_threadpool(journal.take_back, bonus_id, caller.actor, core.clock())
    await journal.put_in_force()
    return given


@action("POST", "/bedtime/{grant_id}/undo", status=200, form=FormOf("/bedtime/{grant_id}/undo"))
async def undo_later_bedtime(core: Operations, caller: Caller, grant_id: EntryId) -> Grant | None:
    """End a later bedtime of the last ten minutes. One that it replaced is in force again, and is returned."""
    journal: JournalOfTime = core.part(journal_of_time)
    before = await run_in_threadpool(journal.bedtime_before, grant_id, caller.actor, core.clock())
    await journal.put_in_force()
    return before


@action("POST", "/requests/{request_id}/reopen", form=FormOf("/requests/{request_id}/reopen"))
async def reopen_request(core: Operations, caller: Caller, request_id: JournalId) -> None:
    """Take back a "no" of the last ten minutes, also to the requests that it answered with this one, or a "yes" to a
    chore with the minutes that it gave.
    """
    journal: JournalOfTime = core.part(journal_of_time)
    await run_in_threadpool(journal.reopen_request, request_id, caller.actor, core.clock())
    await journal.put_in_force()


UNDO_ACTIONS = (undo_pause, undo_resume, undo_bonus, undo_later_bedtime, reopen_request)
