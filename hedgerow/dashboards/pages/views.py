"""All pages, and the two files that they load."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.pages.certificate import CertificatePages
from hedgerow.dashboards.pages.codes import CodePages
from hedgerow.dashboards.pages.devices import DevicePages
from hedgerow.dashboards.pages.entry import EntryPages
from hedgerow.dashboards.pages.lists import ListPages
from hedgerow.dashboards.pages.log import LogPages
from hedgerow.dashboards.pages.own import OwnPages
from hedgerow.dashboards.pages.people import PeoplePages
from hedgerow.dashboards.pages.settings import SettingsPages
from hedgerow.dashboards.pages.site import Site
from hedgerow.dashboards.pages.today import TodayPages

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#3c8f54"'
    ' d="M4 27V17c0-5 3-9 6-9s5 3 6 6c1-5 4-9 7-9 4 0 6 5 6 11v11z"/></svg>'
)


def make_pages(site: Site) -> APIRouter:
    """The routes of all pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    groups = (TodayPages, PeoplePages, DevicePages, LogPages, ListPages, SettingsPages, EntryPages, OwnPages, CertificatePages, CodePages)
    for pages in groups:
        pages(site).add_to(router)

    @router.get("/static/hedgerow.css")
    async def css() -> Response:
        """Its address changes when it does."""
        return Response(site.renderer.css, media_type="text/css", headers={"Cache-Control": "max-age=31536000, immutable"})

    @router.get("/static/hedgerow.svg")
    async def icon() -> Response:
        return Response(_ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    return router
