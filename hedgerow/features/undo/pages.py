"""Buttons for pauses, minutes and bedtimes: the page says afterwards what was done, and offers to undo exactly that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions import access, sessions
from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.actions.orders import BonusOrder, GrantTarget, LaterBedtime, PauseOrder, Refusal
from hedgerow.dashboards.extensions import Extensions
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageGroup
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.undo.actions import (
    UNDO_ACTIONS,
    reopen_request,
    undo_bonus,
    undo_later_bedtime,
    undo_pause,
    undo_resume,
)
from hedgerow.features.undo.before import JournalOfTime, journal_of_time
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.time_model import PauseKind

_PAUSED = {
    (False, False, False): message("%(name)s is paused until %(time)s."),
    (False, False, True): message("%(name)s is paused."),
    (False, True, False): message("The internet is paused for everybody until %(time)s."),
    (False, True, True): message("The internet is paused for everybody."),
    (True, False, False): message("Homework for %(name)s until %(time)s."),
    (True, False, True): message("Homework for %(name)s."),
    (True, True, False): message("Homework for everybody until %(time)s."),
    (True, True, True): message("Homework for everybody."),
}
"""Sentences about a pause: for homework only, for everybody, without an end."""

_OVER = {
    (False, False): message("%(name)s is paused no longer."),
    (False, True): message("The pause for everybody is over."),
    (True, False): message("Homework for %(name)s is over."),
    (True, True): message("Homework for everybody is over."),
}
"""Sentences about the end of pauses: of homework only, of everybody."""


class UndoPages(PageGroup):
    """The forms, and those that undo what they did."""

    @form(access.pause)
    async def pause(self, request: Request, caller: Caller, order: PauseOrder) -> Response:
        """Pause a device, a person or everybody, for whom the form names nobody."""
        everybody = order.person is None and order.device is None
        pause = await access.pause.run(self._context, caller, replace(order, everybody=everybody))
        return self._paused(request, [pause], self._offered(f"/pauses/{quote(pause.id)}/undo"))

    @form(undo_pause)
    async def undo_pause(self, request: Request, caller: Caller, pause_id: str) -> Response:
        undone = await undo_pause.run(self._context, caller, pause_id)
        if undone.again:
            return self._paused(request, undone.again)
        target = GrantTarget(device=undone.ended.device, person=undone.ended.person)
        return self._resumed(request, target, [undone.ended])

    @form(access.resume)
    async def resume(self, request: Request, caller: Caller, order: GrantTarget) -> Response:
        target, now = (order.device, order.person), self._context.clock()
        running = await run_in_threadpool(self._context.reader.pauses, now)
        ended = [pause for pause in running if (pause.device, pause.person) == target]
        await access.resume.run(self._context, caller, order)
        can_undo = await run_in_threadpool(self._journal.can_begin_pauses, *target, now)
        return self._resumed(request, order, ended, "/resume/undo" if can_undo else "")

    @form(undo_resume)
    async def undo_resume(self, request: Request, caller: Caller, order: GrantTarget) -> Response:
        return self._paused(request, await undo_resume.run(self._context, caller, order))

    @form(sessions.bonus)
    async def add_minutes(self, request: Request, caller: Caller, order: BonusOrder) -> Response:
        bonus = await sessions.bonus.run(self._context, caller, order)
        return self._done(
            request,
            message("%(minutes)s more minutes for %(name)s today."),
            self._offered(f"/bonuses/{quote(bonus.id)}/undo"),
            name=order.name,
            minutes=f"{bonus.minutes:g}",
        )

    @form(undo_bonus)
    async def undo_bonus(self, request: Request, caller: Caller, bonus_id: str) -> Response:
        bonus = await undo_bonus.run(self._context, caller, bonus_id)
        text = message("The %(minutes)s more minutes for %(name)s are taken back.")
        return self._done(request, text, name=bonus.account.partition(":")[2], minutes=f"{bonus.minutes:g}")

    @form(access.postpone_bedtime)
    async def postpone_bedtime(self, request: Request, caller: Caller, name: str, order: LaterBedtime) -> Response:
        grant = await access.postpone_bedtime.run(self._context, caller, name, order)
        return self._later(request, grant, self._offered(f"/bedtime/{quote(grant.id)}/undo"))

    @form(undo_later_bedtime)
    async def undo_later_bedtime(self, request: Request, caller: Caller, grant_id: str) -> Response:
        before = await undo_later_bedtime.run(self._context, caller, grant_id)
        if before is None:
            return self._done(request, message("The later bedtime is taken back."))
        return self._later(request, before)

    @property
    def _journal(self) -> JournalOfTime:
        return self._context.part(journal_of_time)

    def _offered(self, undo: str) -> str:
        """Return the path of a form that undoes something, empty where nothing can be undone."""
        return undo if self._journal.is_offered else ""

    def _paused(self, request: Request, pauses: Sequence[Pause], undo: str = "") -> Response:
        """Say what is in force: of several pauses the one that closes most, and of those the one that lasts longest."""
        pause = max(pauses, key=lambda each: (each.kind is not PauseKind.HOMEWORK, each.ends or math.inf))
        whose = pause.person or pause.device
        text = _PAUSED[pause.kind is PauseKind.HOMEWORK, whose is None, pause.ends is None]
        return self._done(request, text, undo, name=whose, ends=pause.ends)

    def _resumed(self, request: Request, target: GrantTarget, ended: Sequence[Pause], undo: str = "") -> Response:
        whose = target.person or target.device
        text = _OVER[{pause.kind for pause in ended} == {PauseKind.HOMEWORK}, whose is None]
        fields = {key: name for key, name in (("person", target.person), ("device", target.device)) if name}
        return self._done(request, text, undo, fields, name=whose)

    def _later(self, request: Request, grant: Grant, undo: str = "") -> Response:
        text = message("%(name)s's bedtime is later: open until %(time)s.")
        return self._done(request, text, undo, name=grant.person, ends=grant.ends)


class DenialPages(PageGroup):
    """The form that denies a request, and the one that takes that back."""

    @form(access.deny)
    async def deny(self, request: Request, caller: Caller, request_id: int, order: Refusal) -> Response:
        """Deny a request, and say so."""
        row = await self._row(request_id)
        await access.deny.run(self._context, caller, request_id, order)
        text = (
            message("%(name)s can read that it is not done yet: %(what)s.")
            if row is not None and row.chore
            else message("%(what)s stays closed for %(name)s, who can read your answer.")
        )
        return self._about(request, row, text, f"/requests/{request_id}/reopen")

    @form(reopen_request)
    async def reopen_request(self, request: Request, caller: Caller, request_id: int) -> Response:
        await reopen_request.run(self._context, caller, request_id)
        text = message("The question of %(name)s is open again: %(what)s.")
        return self._about(request, await self._row(request_id), text)

    async def _row(self, request_id: int) -> RequestRow | None:
        rows = await run_in_threadpool(self._context.reader.requests)
        return next((each for each in rows if each.id == request_id), None)

    def _about(self, request: Request, row: RequestRow | None, text: str, undo: str = "") -> Response:
        """Say what was done with an open request."""
        assert row is not None  # it was answered, or opened, just now
        what = title_of(row.subject, language_of(request))
        return self._done(request, text, undo, what=what, name=row.person or row.device)


EXTENSIONS = Extensions(actions=UNDO_ACTIONS, page_groups=(UndoPages, DenialPages))
