"""All pages, and the files that they load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.pages.counter import CounterPages
from hedgerow.dashboards.pages.device_setup import CertificatePages, CheckPages
from hedgerow.dashboards.pages.devices import DevicePages, SeatPages
from hedgerow.dashboards.pages.lists import ListPages
from hedgerow.dashboards.pages.log import LogPages
from hedgerow.dashboards.pages.notices import NoticePages
from hedgerow.dashboards.pages.own_device import CaptivePortalPages, LanguagePages, OwnDevicePages
from hedgerow.dashboards.pages.people import DataExportPages, PeoplePages
from hedgerow.dashboards.pages.settings import SettingsPages
from hedgerow.dashboards.pages.sign_in import SignInPages
from hedgerow.dashboards.pages.today import CodePages, TodayPages

ICON_PATH = "/static/hedgerow.svg"
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#3c8f54"'
    ' d="M4 27V17c0-5 3-9 6-9s5 3 6 6c1-5 4-9 7-9 4 0 6 5 6 11v11z"/></svg>'
)


def make_pages(site: PageContext) -> APIRouter:
    """The routes of all pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for pages in (
        *(TodayPages, CounterPages, PeoplePages, DevicePages, SeatPages, LogPages, ListPages, SettingsPages, SignInPages, OwnDevicePages),
        *(CertificatePages, CheckPages, CodePages, LanguagePages, CaptivePortalPages, DataExportPages, NoticePages),
    ):
        pages(site).add_to(router)
    for name, kind in (("hedgerow.css", "text/css"), ("hedgerow.js", "text/javascript")):
        router.add_api_route(f"/static/{name}", _static_file(site.renderer.files[name], kind), methods=["GET"])

    @router.get(ICON_PATH)
    async def icon() -> Response:
        return Response(_ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    return router


def _static_file(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    """Its address changes when it does."""

    async def answer() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "max-age=31536000, immutable"})

    return answer
