"""The question before something dangerous is opened: for whom, and for how long. It needs no JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from hedgerow.dashboards.pages.context import PageContext, referring_page
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message

SURE = "sure"
"""The field by which a form says that somebody was asked."""
HOW_LONG = {"hour": message("For an hour"), "today": message("For today"), "good": message("Permanently")}


@dataclass(frozen=True, slots=True)
class Opening:
    """Something that a form opens. `person` and `device` say for whom; everybody without them."""

    subject: str
    person: str | None = None
    device: str | None = None

    @property
    def whose(self) -> str:
        return self.person or self.device or ""


async def ask_before(
    context: PageContext, request: Request, opening: Opening, choices: Mapping[str, str], *, field: str = "for"
) -> Response | None:  # fmt: skip
    """Return a page that asks before a dangerous opening, or None if it is harmless or somebody was asked.

    Arguments:
        choices: titles of the durations by the value of the form's field `field`.
    """
    form = [(key, str(value)) for key, value in (await request.form()).multi_items()]
    if any(key == SURE for key, _ in form):
        return None
    dangers = context.control.dangers(opening.subject, person=opening.person, device=opening.device)
    if not dangers:
        return None
    reader = language_of(request)
    return context.renderer.page(
        request,
        "confirm.html",
        opening=opening,
        title=title_of(opening.subject, reader),
        topics=[title_of(name, reader) for name in dangers],
        fields=[(key, value) for key, value in form if key != field],
        field=field,
        choices=[(value, reader.gettext(title)) for value, title in choices.items()],
        action=request.url.path,
        before=referring_page(request),
    )
