"""Where a guest's device is led before it may use the internet: the API that says so (RFC 8908), and the voucher that is typed there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import JSONResponse, Response

from hedgerow.dashboards.api.guard import PORTAL_PATH, peer_address
from hedgerow.dashboards.api.problems import problem
from hedgerow.dashboards.pages.own import redeem
from hedgerow.dashboards.pages.site import NOT_OURS, Site


class PortalPages:
    """`/captive-portal`, which DHCP's option 114 and the router advertisement's option 37 name (RFC 8910), and `/device/voucher`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(PORTAL_PATH, self.state, methods=["GET"])
        router.add_api_route("/device/voucher", self.redeem, methods=["POST"])

    async def state(self, request: Request) -> Response:
        """Whether this device is held, where its page is, and how long its session goes on."""
        view = self._site.control.device_at(peer_address(request.scope))
        if view is None:
            return problem(403, NOT_OURS)
        place = f"{request.url.scheme}://{request.url.netloc}/device"
        facts: dict[str, object] = {"captive": view.is_captive, "user-portal-url": place}
        if view.session_ends is not None and not view.is_captive:
            facts |= {"seconds-remaining": max(0, int(view.session_ends - self._site.clock())), "can-extend-session": True}
        return JSONResponse(facts, headers={"Cache-Control": "private"}, media_type="application/captive+json")

    async def redeem(self, request: Request, code: Annotated[str, Form(max_length=30)]) -> Response:
        """A voucher's code."""
        return await redeem(self._site, request, self._site.vouchers, code)
