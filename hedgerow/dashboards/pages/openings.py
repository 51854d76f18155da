"""Openings: the question before a dangerous one, and what to say afterwards, also when something stays closed.

No JavaScript is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import DangerousOpening, InvalidInput
from hedgerow.dashboards.edits.rules import rule_end
from hedgerow.dashboards.edits.yaml_text import exclude, include
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of, redirect_after_save, referring_page
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.pages.forms import waiting_fields, was_asked
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.reasons import reason_sentence
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.decide import LIFTED_BY_ALWAYS
from hedgerow.policies.model import Grant, GrantDuration, Reason, Verdict

_LEAVE = message("Leave it as it is")
ALLOW = {"allow": message("Allow it")}
_CLOSE_ALL = frozenset((Reason.BEDTIME, Reason.SCHEDULE, Reason.PAUSE))
HOW_LONG = {"hour": message("For an hour"), "today": message("For today"), "good": message("Permanently")}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The reason why something stays closed, the instant until which it does (None: no end is set), and the name of the
    schedule that closes it, if one does.
    """

    reason: Reason
    what: str
    until: float | None
    schedule: str = ""

    @property
    def yields_to_always(self) -> bool:
        return self.reason in LIFTED_BY_ALWAYS


async def ask_before(
    context: PageContext,
    request: Request,
    opening: AccessSubject,
    choices: Mapping[str, str] = HOW_LONG,
    *,
    field: str = "for",
) -> Response | None:
    """Return a page that asks before a dangerous opening, or None if it is harmless or somebody was asked.

    Arguments:
        choices: titles of the durations by the value of the form's field `field`.
    """
    dangers = context.control.dangers(opening)
    return await _ask(context, request, opening, dangers, choices, field=field) if dangers else None


async def ask_about(context: PageContext, request: Request, refusal: DangerousOpening) -> Response | None:
    """Return a page that asks whether a change of the policy which was refused is meant; it sends the form again."""
    return await _ask(context, request, refusal.subject, refusal.dangers, ALLOW, field="asked")


async def _ask(
    context: PageContext,
    request: Request,
    opening: AccessSubject,
    dangers: Sequence[str],
    choices: Mapping[str, str],
    *,
    field: str,
) -> Response | None:
    reader = language_of(request)
    title, topics = title_of(opening.what, reader), [title_of(name, reader) for name in dangers]
    question = message("Open %(what)s for %(name)s?") if opening.whose else message("Open %(what)s for everybody?")
    how_long = message("It is closed for a reason. How long do you want to open it?")
    text = how_long if len(choices) > 1 else message("It is closed for a reason. Do you want to open it?")
    belongs = reader.gettext(message("This belongs to: %(topics)s."), topics=reader.comma.join(topics))
    return await confirm(
        context,
        request,
        question,
        text,
        choices,
        field=field,
        warning=belongs if topics != [title] else "",
        leave=message("Leave it closed"),
        what=title,
        name=opening.whose,
    )


async def confirm(
    context: PageContext,
    request: Request,
    question: str,
    text: str,
    choices: Mapping[str, str],
    *,
    field: str = "asked",
    leave: str = _LEAVE,
    warning: str = "",
    **values: object,
) -> Response | None:
    """Return a page that asks before a form has its effect, or None if somebody was asked.

    All texts but `warning` are messages.

    Arguments:
        choices: titles of the buttons by the value of the form's field `field`.
        leave: the title of the link that leads back.
        values: the values of `question` and `text`.
    """
    if await was_asked(request):
        return None
    reader = language_of(request)
    return context.renderer.page(
        request,
        "confirm.html",
        question=reader.gettext(question, **values),
        text=reader.gettext(text, **values),
        warning=warning,
        leave=reader.gettext(leave),
        fields=await waiting_fields(request, field),
        field=field,
        choices=[(value, reader.gettext(title)) for value, title in choices.items()],
        action=request.url.path,
        before=referring_page(request),
    )


async def explain_obstacle(
    context: PageContext,
    request: Request,
    opening: AccessSubject,
    how_long: GrantDuration,
    *,
    if_all_closed: bool = True,
) -> Response | None:
    """Return a page that says why something stays closed although it was just opened, and offers what helps; None if it
    is open.

    Arguments:
        if_all_closed: False if a closure of the whole internet need not be told, as for a lasting rule.
    """
    obstacle = await _obstacle(context, opening)
    if obstacle is None or (not if_all_closed and obstacle.reason in _CLOSE_ALL):
        return None
    reader, now = language_of(request), context.clock()
    policy = context.policy()
    where = labels.zone(policy.network.timezone)
    return context.renderer.page(
        request,
        "still_closed.html",
        opening=opening,
        obstacle=obstacle,
        title=title_of(opening.what, reader),
        why=reason_sentence(obstacle.reason, obstacle.what, reader),
        until=None if obstacle.until is None else reader.clock(obstacle.until, now, where),
        pause=await _pause_of(context, opening) if obstacle.reason is Reason.PAUSE else None,
        can_be_always=obstacle.yields_to_always
        and (opening.person in policy.people or opening.device in policy.devices),
        how_long=how_long.value,
        can_be_permitted=how_long is GrantDuration.GOOD and obstacle.reason not in _CLOSE_ALL | {Reason.BUDGET},
        before=referring_page(request),
    )


def opened_path(context: PageContext, request: Request, path: str, grant: Grant) -> str:
    """Return the address of a page that says what a grant opens, until when, and which names of others with it."""
    reader, now, where = language_of(request), context.clock(), labels.zone(context.control.status().timezone)
    times = context.control.person_times([grant.person] if grant.person else []).get(grant.person or "")
    until = labels.open_until(grant, times)
    words = {
        "what": title_of(grant.subject, reader),
        "name": grant.person or grant.device or reader.gettext("everybody"),
    }
    if until is None:
        said = reader.gettext(message("%(what)s open for %(name)s."), **words)
    else:
        text = message("%(what)s open for %(name)s until %(time)s.")
        said = reader.gettext(text, **words, time=reader.clock(until, now, where))
    if others := context.control.opens_too(grant):
        needs = message("It also opens names that other services use: %(names)s.")
        said += " " + reader.gettext(needs, names=reader.comma.join(others))
    return context.feedback.path(path, Feedback(said, f"/grants/{quote(grant.id)}/revoke"))


async def _obstacle(context: PageContext, opening: AccessSubject) -> Obstacle | None:
    control, policy = context.control, context.policy()
    if opening.person is not None:
        access = control.person_access(opening.person)
        if opening.what in access.subjects:
            decision = access.subjects[opening.what].now.decision
            if access.is_open(opening.what):
                return None
            if access.closed is not None:
                return Obstacle(access.closed.reason, access.closed.what, access.closed.until)
            now = access.subjects[opening.what].now
            return Obstacle(decision.reason, decision.what, now.until, now.schedule)
    devices = (
        [opening.device]
        if opening.device
        else [each.id for each in policy.devices.values() if each.person == opening.person]
    )
    for device in devices:
        try:
            explained = await control.explain(device, opening.what)
        except InvalidInput:
            continue  # a service or topic for a single device: its sites differ
        if explained[-1].decision.verdict is Verdict.BLOCK:
            decision = explained[-1].decision
            return Obstacle(decision.reason, decision.what, decision.until)
    return None


async def _pause_of(context: PageContext, opening: AccessSubject) -> dict[str, str]:
    """Return the fields of the form that ends the pause in force: of the person, the device, or everybody."""
    owner = context.policy().devices[opening.device].person if opening.device in context.policy().devices else None
    for pause in await run_in_threadpool(context.reader.pauses, context.clock()):
        if pause.device is not None and pause.device == opening.device:
            return {"device": pause.device}
        if pause.person is not None and pause.person in (opening.person, owner):
            return {"person": pause.person}
    return {}


class OpeningPages(PageGroup):
    """The form that opens something at bedtime too."""

    @post("/openings/always", MANAGE)
    async def open_always(
        self,
        request: Request,
        subject: Annotated[str, Form(max_length=300)],
        how_long: Annotated[GrantDuration, Form(alias="for")],
        person: Annotated[str, Form(max_length=60)] = "",
        device: Annotated[str, Form(max_length=253)] = "",
    ) -> Response:
        """Open something for a while even where bedtime, a schedule or a spent budget closes the internet."""
        context, policy = self._context, self._context.policy()
        if person in policy.people:
            path, name, zone = ("people", person), person, policy.people[person].timezone or policy.network.timezone
        elif device in policy.devices:
            path, name, zone = ("devices", device), device, policy.network.timezone
        else:
            raise InvalidInput("Choose a person or a device of the policy.")
        where = labels.zone(zone)
        ends = how_long.end(context.clock(), where)
        until = {} if ends is None else {"until": rule_end(ends, where)}
        item = {"what": subject, **until} if until else subject
        edits = [exclude((*path, key), subject) for key in ("always", "block")]
        text = message("%(what)s open for %(name)s at bedtime too.")
        change = await self._change(request, text, *edits, include((*path, "always"), item), name=name, what=subject)
        # The rule takes the place of the grant that did not open it. Ending the grant would otherwise seem to close it.
        for grant in await run_in_threadpool(context.reader.grants, context.clock()):
            if grant.subject == subject and (grant.person, grant.device) in ((person, None), (None, device)):
                await context.control.revoke(grant.id, principal_of(request).name)
        return redirect_after_save(referring_page(request), change)
