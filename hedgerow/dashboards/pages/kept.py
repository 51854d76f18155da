"""What is kept about somebody, handed out to them and to those in charge; and erased."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.api.guard import peer_address
from hedgerow.dashboards.api.kept_routes import download
from hedgerow.dashboards.pages.site import NOT_OURS, Site, back_to

type Name = Annotated[str, Path(max_length=60)]


class KeptPages:
    """`/people/NAME/kept` and `/device/kept`, which are the same for a person's own device, and `/people/NAME/erase`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/people/{name}/kept", self.of_person, methods=["GET"], response_model=None)
        router.add_api_route("/people/{name}/erase", self.erase, methods=["POST"])
        router.add_api_route("/device/kept", self.own, methods=["GET"], response_model=None)

    async def of_person(self, name: Name) -> Response:
        kept = self._site.kept
        return download(await run_in_threadpool(kept.lines, kept.whose(self._known(name))))

    async def own(self, request: Request) -> Response:
        site = self._site
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return site.renderer.error(request, 403, NOT_OURS)
        # What was before somebody sat down at a seat is the guest's before.
        since = await run_in_threadpool(site.time.seat_since, view.device) if site.time is not None else 0.0
        return download(await run_in_threadpool(site.kept.lines, site.kept.whose_at(view, since)))

    async def erase(self, name: Name) -> Response:
        erased = await run_in_threadpool(self._site.kept.erase, self._known(name))
        if erased.problem:
            raise Unfit("It has been erased, but traces may remain in the journal file. %(problem)s", problem=erased.problem)
        return back_to(f"/people/{quote(name, safe='')}?saved=erased")

    def _known(self, name: str) -> str:
        if name not in self._site.policy().people:
            raise Unfit("The policy has no person called '%(name)s'.", name=name)
        return name
