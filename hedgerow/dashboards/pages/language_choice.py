"""Which language the pages are in for one browser."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.pages.languages import COOKIE
from hedgerow.dashboards.pages.site import OWN_PATH, SEE_OTHER, Site
from hedgerow.policies.languages import LANGUAGES

_YEAR_S = 365 * 86400


class LanguagePages:
    """`/language`: which language this browser is answered in from now on."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/language", self.choose, methods=["POST"])

    async def choose(
        self, request: Request, language: Annotated[str, Form(max_length=8)] = "", back: Annotated[str, Form(max_length=300)] = "/"
    ) -> Response:
        """An empty `language` leaves it to the browser again. `back` is the page that was looked at, and only a path of ours."""
        response = RedirectResponse(back if OWN_PATH.fullmatch(back) else "/", SEE_OTHER)
        if language in LANGUAGES:
            is_secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, language, max_age=_YEAR_S, httponly=True, samesite="strict", secure=is_secure, path="/")
        else:
            response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response
