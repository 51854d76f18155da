"""The routes of all pages, and the files that they load."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Depends, Request
from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.actions.action import Action, Caller, FormOf
from hedgerow.dashboards.actions.core import CORE_ACTIONS
from hedgerow.dashboards.pages.action_forms import Handler, form_endpoint
from hedgerow.dashboards.pages.context import PageContext, redirect_to, referring_page
from hedgerow.dashboards.pages.device_setup import CertificatePages, CheckPages
from hedgerow.dashboards.pages.devices import DevicePages
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.pages.forms import refuse_outdated
from hedgerow.dashboards.pages.guide import GuidePages
from hedgerow.dashboards.pages.lists import ListPages
from hedgerow.dashboards.pages.live import LivePages
from hedgerow.dashboards.pages.log import LogPages
from hedgerow.dashboards.pages.new_devices import NewDevicePages
from hedgerow.dashboards.pages.notices import NoticePages
from hedgerow.dashboards.pages.openings import OpeningPages
from hedgerow.dashboards.pages.own_device import OwnDevicePages
from hedgerow.dashboards.pages.password_again import PasswordAgainPages
from hedgerow.dashboards.pages.people import PeoplePages, PersonDataPages
from hedgerow.dashboards.pages.person_rules import PersonRulePages, SwitchPages
from hedgerow.dashboards.pages.settings import AccountPages, SettingsPages
from hedgerow.dashboards.pages.sign_in import SignInPages
from hedgerow.dashboards.pages.today import AnswerPages, TodayPages
from hedgerow.dashboards.pages.why import WhyPages
from hedgerow.dashboards.routes import DEVICES, ScopedRouter
from hedgerow.dashboards.words.languages import Language, language_of

_VERSIONED, _FRESH, _LOGO = "max-age=31536000, immutable", "no-cache", "max-age=86400"
"""Caching of files: pages address the first kind with a version; the others are asked for by a name that stays."""

_FILES = {
    **dict.fromkeys(("hedgerow.css", "activity.css", "guide.css", "own.css"), ("text/css", _VERSIONED)),
    **dict.fromkeys(
        (
            *("hedgerow.js", "live.js", "device.js", "answers.js", "guide.js", "check.js", "aloud.js", "goals.js"),
            *("app.js", "counter.js"),
        ),
        ("text/javascript", _VERSIONED),
    ),
    **dict.fromkeys(("icon-192.png", "icon-512.png"), ("image/png", _VERSIONED)),
    "icons.svg": ("image/svg+xml", _VERSIONED),
    "hedgerow.svg": ("image/svg+xml", _LOGO),
    "service-worker.js": ("text/javascript", _FRESH),
    "manifest.json": ("application/manifest+json", _FRESH),
}
"""Media type and caching of each file."""
_AT_ROOT = frozenset({"service-worker.js", "manifest.json"})
"""Files of the installable app. A service worker controls the pages below its own path only."""

GROUPS = (
    *(TodayPages, AnswerPages, PersonDataPages, PeoplePages, PersonRulePages, SwitchPages, OpeningPages),
    *(DevicePages, NewDevicePages, LogPages, WhyPages, ListPages),
    *(
        SettingsPages,
        AccountPages,
        PasswordAgainPages,
        SignInPages,
        GuidePages,
        OwnDevicePages,
        CertificatePages,
        CheckPages,
        NoticePages,
        LivePages,
    ),
)


def make_pages(context: PageContext) -> ScopedRouter:
    """Return the routes of all pages."""
    router = ScopedRouter(
        include_in_schema=False, default_response_class=HTMLResponse, dependencies=[Depends(refuse_outdated)]
    )
    for pages in (*GROUPS, *context.extensions.page_groups):
        pages(context).add_to(router)
    served = {route.path for route in router.routes if "POST" in route.methods}
    for action in (*CORE_ACTIONS, *context.extensions.actions):
        if (form := action.form) is not None and form.path not in served:
            router.serve("POST", form.path, action.access)(
                form_endpoint(action, form, _carry_out(action, form, context))
            )
    for name, (media_type, caching) in _FILES.items():
        path = f"/{name}" if name in _AT_ROOT else f"/static/{name}"
        router.serve("GET", path, DEVICES)(_file(context.renderer.files[name], media_type, caching))
    return router


def _carry_out(action: Action, form: FormOf, context: PageContext) -> Handler:
    """Return what receives a form that needs no page of its own: it leads to the page that follows, or back."""

    async def carry_out(request: Request, caller: Caller, **values: Any) -> Response:
        facts = _facts({**values, "answer": await action.run(context, caller, **values)}, language_of(request))
        undone = {} if form.undo is None else {name: facts[each] for name, each in form.undo.fields.items()}
        said = Feedback(
            language_of(request).gettext(form.says, **facts), "" if form.undo is None else form.undo.path, undone
        )
        page = referring_page(request)
        return redirect_to(context.feedback.path(page, said) if form.says else page)

    return carry_out


def _facts(values: Mapping[str, Any], reader: Language) -> dict[str, str]:
    """Return the values of a sentence about an action: single ones, and those that orders and answers consist of."""
    facts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            parts = (
                value
                if isinstance(value, Mapping)
                else {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
            )
            facts = _facts(parts, reader) | facts
        else:
            facts[name] = reader.number(value) if isinstance(value, int | float) else str(value)
    return facts


def _file(content: bytes, media_type: str, caching: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": caching})

    return file
