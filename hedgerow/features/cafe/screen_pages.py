"""The page of the seats' screens, the program for them, and what the program asks."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.guard import local_address
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.routes import ADMIN, DEVICES, OPERATE, READ, ScopedRouter, get, post
from hedgerow.features.cafe.screen_actions import SCREENS_PATH
from hedgerow.features.cafe.screens import Screen, screens_of
from hedgerow.features.cafe.seat_tiles import natural_order

_PROGRAM_TYPE = "text/x-python"
_PROGRAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The program", "content": {_PROGRAM_TYPE: {"schema": {"type": "string"}}}}
}
_PROGRAM = {"Content-Disposition": 'attachment; filename="hedgerow-seat.pyw"'}


class ScreenPages(PageGroup):
    """`/counter/screens`, and what the program at a seat asks."""

    @get(SCREENS_PATH, OPERATE, READ)
    async def screens(self, request: Request) -> Response:
        """Show the screens of the seats, with buttons for each."""
        return self._list(request, "cafe/templates/screens.html")

    @get(f"{SCREENS_PATH}/list", OPERATE, READ)
    async def listed(self, request: Request) -> Response:
        """Return only the screens, for `live.js`."""
        return self._list(request, "cafe/templates/screen_list.html")

    def _list(self, request: Request, template: str) -> Response:
        screens = sorted(self._context.part(screens_of).screens(), key=lambda each: natural_order(each.seat))
        devices = self._context.policy().devices
        can_wake = {each.seat for each in screens if devices[each.seat].macs}
        return self._page(request, template, screens=screens, can_wake=can_wake, once=secrets.token_hex(12))

    @get(f"{SCREENS_PATH}/program", ADMIN)
    async def program(self, request: Request) -> Response:
        """Return the program for the seats, which knows this address and the key of this site."""
        server = f"http://{self._context.control.reached_at(local_address(request.scope) or '127.0.0.1')}"
        text = await run_in_threadpool(self._context.part(screens_of).agent, server)
        return Response(text, media_type=_PROGRAM_TYPE, headers=_PROGRAM)

    @post("/device/commands", DEVICES)
    async def commands(
        self,
        request: Request,
        nonce: Annotated[str, Form(pattern="^[0-9a-f]{32}$")],
        locked: Annotated[str, Form(max_length=3)] = "no",
    ) -> Response:
        """Return what the program at this seat shall do now, signed together with its number `nonce`."""
        view = self._device(request)
        if not view.is_seat or view.device not in self._context.policy().devices:
            raise InvalidInput("This device is not a seat.")
        screens = self._context.part(screens_of)
        await run_in_threadpool(screens.key)  # reads a file, the first time
        return JSONResponse(screens.take(view.device, nonce, is_locked=locked == "yes"))


def add_screen_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes of the API that are not actions."""

    @api.serve("GET", "/screens", OPERATE, READ)
    async def screens() -> tuple[Screen, ...]:
        """Return the screens of the seats: whether the program there runs, and whether the counter has locked it."""
        return context.part(screens_of).screens()

    @api.serve("GET", "/screens/program", ADMIN, response_class=Response, responses=_PROGRAM_RESPONSES)
    async def program(
        server: Annotated[str, Query(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$", max_length=300)],
    ) -> Response:
        """Return the program for the seats, in Python, for Hedgerow's pages at the address `server`."""
        text = await run_in_threadpool(context.part(screens_of).agent, server)
        return Response(text, media_type=_PROGRAM_TYPE, headers=_PROGRAM)
