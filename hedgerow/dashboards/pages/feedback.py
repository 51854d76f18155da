"""Feedback after a permission or an answer: a sentence with what and until when, read from the journal, and its
undoing.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.pages.context import PageContext, principal_of
from hedgerow.dashboards.routes import OPERATE
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import Grant

_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Feedback:
    """A sentence about an action, and the path of the form that undoes it, empty if there is none."""

    text: str
    undo: str = ""


def done_path(path: str, grant_id: str) -> str:
    """Return the path of a page that says what a grant opened; the path itself without a grant."""
    return f"{path}{'&' if '?' in path else '?'}granted={quote(grant_id)}" if grant_id else path


async def feedback(context: PageContext, request: Request) -> Feedback | None:
    """Return the feedback on what the address of a page names, or None if that is over."""
    query, reader = request.query_params, language_of(request)
    if OPERATE not in principal_of(request).scopes:
        return None
    if granted := query.get("granted", ""):
        grants = await run_in_threadpool(context.reader.grants, context.clock())
        grant = next((each for each in grants if each.id == granted), None)
        return (
            None
            if grant is None
            else Feedback(_permission_text(context, grant, reader), f"/grants/{quote(grant.id)}/revoke")
        )
    if denied := query.get("denied", ""):
        rows = await run_in_threadpool(context.reader.requests, "denied", _REQUESTS)
        row = next((each for each in rows if str(each.id) == denied), None)
        return None if row is None else Feedback(_denial_text(row, reader))
    return None


def _permission_text(context: PageContext, grant: Grant, reader: Language) -> str:
    now, where = context.clock(), labels.zone(context.control.status().timezone)
    times = context.control.person_times([grant.person] if grant.person else []).get(grant.person or "")
    until = labels.open_until(grant, times)
    name = grant.person or grant.device or reader.gettext("everybody")
    text = (
        message("%(what)s open for %(name)s until %(time)s.")
        if until is not None
        else message("%(what)s open for %(name)s.")
    )
    time = "" if until is None else reader.clock(until, now, where)
    said = reader.gettext(text, what=labels.title_of(grant.subject, reader), name=name, time=time)
    if others := context.control.opens_too(grant):
        needs = message("It also opens names that other services use: %(names)s.")
        said += " " + reader.gettext(needs, names=reader.comma.join(others))
    return said


def _denial_text(row: RequestRow, reader: Language) -> str:
    what, name = labels.title_of(row.subject, reader), row.person or row.device
    if row.chore:
        return reader.gettext(message("%(name)s can read that it is not done yet: %(what)s."), name=name, what=what)
    return reader.gettext(
        message("%(what)s stays closed for %(name)s, who can read your answer."), name=name, what=what
    )
