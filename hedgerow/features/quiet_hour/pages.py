"""The quiet hour on the pages: a button and its end on *Today*, and its end for the children."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.routes import OPERATE, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.quiet_hour.actions import (
    QUIET_HOUR_ACTIONS,
    QUIET_HOUR_PATH,
    QuietHourOrder,
    begin_quiet_hour,
    end_quiet_hour,
)
from hedgerow.features.quiet_hour.api import add_quiet_hour_routes
from hedgerow.features.quiet_hour.hours import NOTE, QuietHour, children_in, quiet_hours
from hedgerow.features.quiet_hour.metrics import CLOSED


def _running(context: PageContext, _subject: object = None) -> QuietHour | None:
    return context.part(quiet_hours).running(context.clock())


def _can_begin(context: PageContext, _subject: object) -> Literal[True] | None:
    return True if _running(context) is None and any(children_in(context.policy())) else None


def _on_own_page(_context: PageContext, view: DeviceView) -> float | None:
    return view.held_until if view.held == NOTE else None


def _closed(context: PageContext) -> dict[tuple[str, ...], float]:
    hour = _running(context)
    return {(): 0.0 if hour is None else float(len(hour.people) + len(hour.devices))}


class QuietHourPages(PageGroup):
    """The two buttons, and the one that begins again what was ended."""

    @form(begin_quiet_hour)
    async def begin(self, request: Request, caller: Caller, order: QuietHourOrder) -> Response:
        return self._begun(request, await begin_quiet_hour.run(self._context, caller, order))

    @form(end_quiet_hour)
    async def end(self, request: Request, caller: Caller) -> Response:
        await end_quiet_hour.run(self._context, caller)
        return self._done(request, message("The quiet hour is over."), f"{QUIET_HOUR_PATH}/again")

    @post(f"{QUIET_HOUR_PATH}/again", OPERATE)
    async def begin_again(self, request: Request) -> Response:
        """Begin the quiet hour again that was ended last, until its end."""
        hour = await self._context.part(quiet_hours).begin_again(self._actor(request), self._context.clock())
        return self._begun(request, hour)

    def _begun(self, request: Request, hour: QuietHour) -> Response:
        text = message("Quiet hour for all children until %(time)s.")
        return self._done(request, text, f"{QUIET_HOUR_PATH}/end", ends=hour.ends)


EXTENSIONS = Extensions(
    actions=QUIET_HOUR_ACTIONS,
    cards=(
        Card(place=Place.EVERYBODY, template="quiet_hour/templates/state.html", read=_running),
        Card(place=Place.EVERYBODY_PAUSE, template="quiet_hour/templates/button.html", read=_can_begin),
        Card(place=Place.OWN_PAGE, template="quiet_hour/templates/own_hour.html", read=_on_own_page),
    ),
    page_groups=(QuietHourPages,),
    api_routes=(add_quiet_hour_routes,),
    gauges={CLOSED: _closed},
)
