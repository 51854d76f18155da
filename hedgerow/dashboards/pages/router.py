"""The routes of all pages, and the files that they load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.pages.away import AwayPages
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.pages.counter import CounterPages, ShiftPages, StatementPages
from hedgerow.dashboards.pages.device_setup import CertificatePages, CheckPages
from hedgerow.dashboards.pages.devices import DevicePages
from hedgerow.dashboards.pages.guide import GuidePages
from hedgerow.dashboards.pages.lists import ListPages
from hedgerow.dashboards.pages.live import LivePages
from hedgerow.dashboards.pages.log import LogPages
from hedgerow.dashboards.pages.new_devices import NewDevicePages, OwnNamingPages
from hedgerow.dashboards.pages.notices import NoticePages
from hedgerow.dashboards.pages.openings import OpeningPages
from hedgerow.dashboards.pages.organisation import OrganisationPages
from hedgerow.dashboards.pages.own_device import OwnDevicePages
from hedgerow.dashboards.pages.people import PeoplePages, PersonDataPages
from hedgerow.dashboards.pages.person_rules import PersonRulePages, SwitchPages
from hedgerow.dashboards.pages.settings import AccountPages, SettingsPages
from hedgerow.dashboards.pages.sign_in import SignInPages
from hedgerow.dashboards.pages.today import TodayPages
from hedgerow.dashboards.pages.why import WhyPages
from hedgerow.dashboards.routes import DEVICES, ScopedRouter

ICON_PATH = "/static/hedgerow.svg"
_STATIC = (
    *(("hedgerow.css", "text/css"), ("hedgerow.js", "text/javascript"), ("live.js", "text/javascript"), ("device.js", "text/javascript")),
    *(("activity.css", "text/css"), ("guide.css", "text/css"), ("guide.js", "text/javascript"), ("icons.svg", "image/svg+xml")),
    *(("app.js", "text/javascript"), ("icon-192.png", "image/png"), ("icon-512.png", "image/png")),
)
_AT_ROOT = (("service-worker.js", "text/javascript"), ("manifest.json", "application/manifest+json"))
"""Files of the installable app. A service worker controls the pages below its own path only."""

_GROUPS = (
    *(
        TodayPages,
        CounterPages,
        ShiftPages,
        StatementPages,
        PeoplePages,
        PersonRulePages,
        SwitchPages,
        PersonDataPages,
        OpeningPages,
        DevicePages,
    ),
    *(OrganisationPages, AwayPages, NewDevicePages, OwnNamingPages, LogPages, WhyPages, ListPages),
    *(SettingsPages, AccountPages, SignInPages, GuidePages, OwnDevicePages, CertificatePages, CheckPages, NoticePages, LivePages),
)


def make_pages(context: PageContext) -> ScopedRouter:
    """Return the routes of all pages."""
    router = ScopedRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for pages in _GROUPS:
        pages(context).add_to(router)
    for name, media_type in _STATIC:
        router.serve("GET", f"/static/{name}", DEVICES)(_static_file(context.renderer.files[name], media_type))

    for name, media_type in _AT_ROOT:
        router.serve("GET", f"/{name}", DEVICES)(_fresh_file(context.renderer.files[name], media_type))

    logo = context.renderer.files["hedgerow.svg"]

    @router.serve("GET", ICON_PATH, DEVICES)
    async def icon() -> Response:
        return Response(logo, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    return router


def _static_file(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    """Return an endpoint for a file. Pages address it with a version, so browsers may keep it."""

    async def static_file() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=31536000, immutable"})

    return static_file


def _fresh_file(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    """Return an endpoint for a file that browsers ask for by a name that stays."""

    async def fresh_file() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return fresh_file
