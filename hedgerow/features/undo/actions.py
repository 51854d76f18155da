"""Actions that undo a pause, the end of one, extra minutes, and a later bedtime."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MaxLen
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import GrantTarget
from hedgerow.dashboards.control import PauseExemption
from hedgerow.features.undo.before import JournalOfTime, journal_of_time, pause_before, pause_that_ended
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.time_model import Bonus

type EntryId = Annotated[str, MaxLen(40)]


class UndoOperations(Operations):
    """The operations of the core, with the journal."""

    reader: JournalReader


@dataclass(frozen=True, slots=True)
class UndonePause:
    """A pause that is over, and the one that holds again in its place, None if there is none."""

    ended: Pause
    again: Pause | None


@action("POST", "/pauses/{pause_id}/undo", status=200, form=FormOf("/pauses/{pause_id}/undo"))
async def undo_pause(core: UndoOperations, caller: Caller, pause_id: EntryId) -> UndonePause:
    """End a pause that runs. One that it replaced and that would still run begins again."""
    pause, earlier = await run_in_threadpool(pause_before, core.reader.store, pause_id, core.clock())
    if earlier is not None:
        return UndonePause(pause, await _again(core, caller, earlier))
    await core.control.resume(caller.actor, device=pause.device, person=pause.person)
    return UndonePause(pause, None)


@action("POST", "/resume/undo", status=201, form=FormOf("/resume/undo"))
async def undo_resume(core: UndoOperations, caller: Caller, order: GrantTarget) -> Pause:
    """Begin the pause again that was ended last for a person, a device or everybody, until its end."""
    now = core.clock()
    ended = await run_in_threadpool(pause_that_ended, core.reader.store, order.device, order.person, now)
    return await _again(core, caller, ended)


@action("POST", "/bonuses/{bonus_id}/undo", status=200, form=FormOf("/bonuses/{bonus_id}/undo"))
async def undo_bonus(core: Operations, caller: Caller, bonus_id: EntryId) -> Bonus:
    """Take back extra minutes that were given, and return what they were."""
    journal: JournalOfTime = core.part(journal_of_time)
    given = await run_in_threadpool(journal.take_back, bonus_id, caller.actor)
    await journal.put_in_force()
    return given


@action("POST", "/bedtime/{grant_id}/undo", status=200, form=FormOf("/bedtime/{grant_id}/undo"))
async def undo_later_bedtime(core: Operations, caller: Caller, grant_id: EntryId) -> Grant | None:
    """End a later bedtime. An earlier one that it replaced holds again, and is returned."""
    journal: JournalOfTime = core.part(journal_of_time)
    before = await run_in_threadpool(journal.bedtime_before, grant_id, caller.actor, core.clock(), secrets.token_hex(6))
    await journal.put_in_force()
    return before


async def _again(core: UndoOperations, caller: Caller, pause: Pause) -> Pause:
    return await core.control.pause(
        caller.actor,
        device=pause.device,
        person=pause.person,
        ends=pause.ends,
        spared=PauseExemption(pause.spared_person, pause.spared_device),
        kind=pause.kind,
    )


UNDO_ACTIONS = (undo_pause, undo_resume, undo_bonus, undo_later_bedtime)
