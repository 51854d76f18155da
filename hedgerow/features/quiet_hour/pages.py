"""The quiet hour on the pages: a button and its end on *Today*, and its end for the children."""

from __future__ import annotations

from typing import Literal

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.features.quiet_hour.actions import QUIET_HOUR_ACTIONS
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


EXTENSIONS = Extensions(
    actions=QUIET_HOUR_ACTIONS,
    cards=(
        Card(place=Place.EVERYBODY, template="quiet_hour/templates/state.html", read=_running),
        Card(place=Place.EVERYBODY_PAUSE, template="quiet_hour/templates/button.html", read=_can_begin),
        Card(place=Place.OWN_PAGE, template="quiet_hour/templates/own_hour.html", read=_on_own_page),
    ),
    api_routes=(add_quiet_hour_routes,),
    gauges={CLOSED: _closed},
)
