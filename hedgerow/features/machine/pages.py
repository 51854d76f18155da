"""The page *This box*, its readings for programs, and its metrics."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow import __version__
from hedgerow.dashboards.extensions import Card, Extensions, NavLink, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.routes import ADMIN, MANAGE, ScopedRouter, get
from hedgerow.dashboards.words.languages import message
from hedgerow.features.machine.metrics import METRICS, values_of
from hedgerow.features.machine.readings import Readings
from hedgerow.features.machine.watch import HOT, LITTLE, machine_of, problems

PATH = "/machine"


class MachinePages(PageGroup):
    """The page."""

    @get(PATH, MANAGE)
    async def machine(self, request: Request) -> Response:
        """Show the state of the machine."""
        found = await run_in_threadpool(self._context.part(machine_of).read)
        return self._page(
            request,
            "machine/templates/machine.html",
            machine=found,
            is_wrong=any(problems(found)),
            hot=HOT,
            little=LITTLE,
            version=__version__,
        )


def add_machine_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route."""

    @api.serve("GET", PATH, MANAGE)
    async def machine() -> Readings:
        """Return the state of the machine. What it has no sensor for is null."""
        return await run_in_threadpool(context.part(machine_of).read)


def _gauge(name: str) -> Callable[[PageContext], dict[tuple[str, ...], float]]:
    return lambda context: values_of(context.part(machine_of).read())[name]


def _trouble(context: PageContext, _subject: object) -> bool | None:
    return any(problems(context.part(machine_of).read())) or None


EXTENSIONS = Extensions(
    cards=(Card(place=Place.TODAY_START, template="machine/templates/today.html", read=_trouble),),
    page_groups=(MachinePages,),
    api_routes=(add_machine_routes,),
    nav=(
        NavLink(
            path=PATH,
            label=message("This box"),
            icon="storage",
            scopes=frozenset({MANAGE, ADMIN}),
            after="/settings",
        ),
    ),
    gauges={each.name: _gauge(each.name) for each in METRICS},
)
