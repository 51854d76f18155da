"""Codes for the phone: a button beside each request and on each person's page, and the page that shows the digits, once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import Response

from hedgerow.dashboards.api.codes import CodeOrder
from hedgerow.dashboards.api.control import HowLong, Unfit
from hedgerow.dashboards.pages.site import Site, visitor_of

type FormText = Annotated[str, Form(max_length=253)]


class CodePages:
    """`/codes` and `/requests/ID/code`; both only answer forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/requests/{request_id}/code", self.answer, methods=["POST"])
        router.add_api_route("/codes", self.make, methods=["POST"])

    async def answer(self, request: Request, request_id: Annotated[int, Path(ge=1, le=2**62)]) -> Response:
        return await self._show(request, CodeOrder(request=request_id))

    async def make(
        self, request: Request, person: FormText, subject: FormText = "", how_long: HowLong = HowLong.HOUR,
        minutes: Annotated[int | None, Form(ge=1, le=1440)] = None,
    ) -> Response:  # fmt: skip
        return await self._show(request, CodeOrder(person=person, subject=subject.strip(), how_long=how_long, minutes=minutes))

    async def _show(self, request: Request, order: CodeOrder) -> Response:
        if self._site.codes is None:
            raise Unfit("Codes are not available here.")
        made = await self._site.codes.make(order, visitor_of(request).name)
        return self._site.renderer.page(request, "code.html", digits=f"{made.digits[:3]} {made.digits[3:]}", code=made.code)
