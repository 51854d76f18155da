"""Context, rendering and base class of all pages."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time as system_time
from types import MappingProxyType
from typing import Any, Protocol
from unicodedata import normalize
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from jinja2 import Environment
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from hedgerow.dashboards.accounts import ONCE_SESSION_S, SESSION_LIFETIME_S, Accounts, Principal
from hedgerow.dashboards.actions.operations import CodeControl, PartMaker, SessionControl, TimeControl
from hedgerow.dashboards.command import hedgerow_command
from hedgerow.dashboards.control import BudgetRow, Control, DeviceView, SiteCorrections
from hedgerow.dashboards.credentials import ONCE
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.times import Preset
from hedgerow.dashboards.edits.yaml_text import Edit
from hedgerow.dashboards.extensions import Extensions, NavLink, Place
from hedgerow.dashboards.guard import LOCAL_PEERS, SESSION_COOKIE, peer_address
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDispatcher
from hedgerow.dashboards.pages.action_forms import form_endpoint
from hedgerow.dashboards.pages.feedback import Feedback, LatestFeedback
from hedgerow.dashboards.pages.forms import LOCAL_PATH, forms_of, nearest_page, page_before, was_asked
from hedgerow.dashboards.policy_index import LatestIndex, PolicyIndex
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.templating import load_templates, make_environment
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.changes import enforcement_text
from hedgerow.dashboards.words.languages import Language, language, language_of, message
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.activity import ActivityReader
from hedgerow.journal.policy_history import PolicyChange
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.policies.model import AccessRequest, Grant, Person, Policy
from hedgerow.policies.text.locales import COUNTRIES, LANGUAGES
from hedgerow.proxy.pages.help import page_environment

STATIC = pathlib.Path(__file__).parents[1] / "static"
SEE_OTHER, METHOD_NOT_ALLOWED = 303, 405
_LONG_AGO_S = 400 * 86400.0
MORE_PATH = "/more"
_NAV = (
    ("/", message("Today"), "today", frozenset({OPERATE, READ})),
    ("/people", message("People"), "people", frozenset({READ})),
    ("/devices", message("Devices"), "devices", frozenset({OPERATE, READ})),
    ("/log", message("Activity"), "log", frozenset({READ})),
    ("/report", message("The week at home"), "report", frozenset({READ})),
    ("/lists", message("Lists"), "lists", frozenset({READ})),
    ("/settings", message("Settings"), "settings", frozenset({READ})),
)
_PARENTS = {"/day": "/", "/why": "/log", "/changes": "/settings", "/certificate": "/devices"}
"""Pages without a link in the navigation, and the page from which they are reached."""
_SAID = {
    "0": message("Nothing to change: this setting was already in place."),
    "password": message("Your password is changed. Sign in with the new one."),
    "code": message("Signing in needs no code any more."),
}
"""Sentences about forms that changed no file, by the value of `saved` in the address of the page that follows, also for
those who are not signed in.
"""

_NAV_PLACES = 4
"""Entries of the bar at the bottom of a phone, besides "More"."""
_ANONYMOUS = Principal("", frozenset())


@dataclass(frozen=True, slots=True)
class NavEntry:
    """A link of the navigation.

    `icon` is a symbol of `static/icons.svg`. On a phone, `is_extra` puts the link on the page "More".
    """

    href: str
    label: str
    icon: str
    is_current: bool
    is_extra: bool


@dataclass(frozen=True, slots=True)
class ShownCard:
    """A card of a feature: its template, and the `value` that it shows."""

    template: str
    value: object


class RunningPartOf(Protocol):
    """Return the part of this kind that the services of a feature have, which run from now on."""

    async def __call__[Kind](self, kind: type[Kind], name: str) -> Kind: ...


@dataclass(slots=True, kw_only=True)
class PageContext:
    """Everything that the application reads and changes. `part` returns a feature's own part of control."""

    reader: JournalReader
    control: Control
    accounts: Accounts
    editor: PolicyEditor
    data_export: DataExport
    metrics: Metrics
    time: TimeControl
    session_control: Callable[[], SessionControl]
    codes: CodeControl
    notices: NoticeDispatcher
    request_access: Callable[[AccessRequest], None]
    sites: SiteCorrections
    running_part: RunningPartOf
    extensions: Extensions
    part: PartMaker
    clock: Callable[[], float] = system_time
    feedback: LatestFeedback = field(default_factory=LatestFeedback)
    renderer: Renderer = field(init=False)

    def __post_init__(self) -> None:
        self.renderer = Renderer(self)

    @property
    def activity(self) -> ActivityReader:
        return ActivityReader(self.reader.store)

    @property
    def rule_versions(self) -> RuleVersions:
        return RuleVersions(self.reader.store)

    def actor_of(self, principal: Principal) -> str:
        """Return the name in which a principal acts: one that a feature gives it, else that of the account or token."""
        given = (name_of(self, principal) for name_of in self.extensions.actors)
        return next(filter(None, given), principal.name)

    def budgets(self) -> tuple[BudgetRow, ...]:
        """Return all budgets with a limit today."""
        return tuple(row for row in self.time.budgets() if row.limit is not None)

    def cards(self, place: Place, subject: object = None) -> list[ShownCard]:
        """Return the cards of features at a place, in the order of the features. Waits for the disk."""
        read = ((card, card.read(self, subject)) for card in self.extensions.cards if card.place is place)
        return [ShownCard(card.template, value) for card, value in read if value is not None]

    def presets(self, person: Person, reader: Language) -> list[Preset]:
        """Return the presets of features."""
        return [make(self.policy(), person, reader) for make in self.extensions.presets]

    def policy(self) -> Policy:
        return self.control.policy()

    def index(self) -> PolicyIndex:
        return self.renderer.index()


class PageGroup:
    """Pages with a common subject. Methods marked with `get`, `post` and `form` become routes, in their order."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def add_to(self, router: ScopedRouter) -> None:
        """Add the marked methods to the router."""
        for name, member in vars(type(self)).items():
            if (route := getattr(member, "page_route", None)) is not None:
                router.serve(route.method, route.path, *route.access, page=route.page)(getattr(self, name))
            if (form_of := getattr(member, "form_of", None)) is not None:
                action, form = form_of
                router.serve("POST", form.path, action.access)(form_endpoint(action, form, getattr(self, name)))

    def _page(self, request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
        return self._context.renderer.page(request, template, status_code, **values)

    def _actor(self, request: Request) -> str:
        """Return the name in which a request acts."""
        return self._context.actor_of(principal_of(request))

    def _device(self, request: Request) -> DeviceView:
        """Return the device that makes the request. Raises HTTPException for a device outside the network."""
        view = self._context.control.device_at(peer_address(request.scope))
        if view is None:
            raise HTTPException(403, message("This device is not part of this network."))
        return view

    def _done(
        self,
        request: Request,
        text: str,
        undo: str = "",
        fields: Mapping[str, str] = MappingProxyType({}),
        *,
        path: str = "",
        ends: float | None = None,
        **values: object,
    ) -> Response:
        """Lead back to the page of a form, or to `path`, which says what was done.

        `ends` is an instant, which the text has as `time`. `undo` is the path of the form that undoes it.
        """
        context, reader = self._context, language_of(request)
        if ends is not None:
            values["time"] = reader.clock(ends, context.clock(), labels.zone(context.control.status().timezone))
        said = Feedback(reader.gettext(text, **values), undo, fields)
        return redirect_to(context.feedback.path(path or referring_page(request), said))

    async def _change(self, request: Request, summary: str, *edits: Edit, **values: object) -> PolicyChange | None:
        """Edit the policy file. `summary` is a message for the list of changes, `values` are its values.

        Raises `DangerousOpening`, unless the form says that somebody was asked.
        """
        text = language_of(request).gettext(summary, **values)
        return await self._context.editor.change(principal_of(request), text, *edits, sure=await was_asked(request))


class RenderedPage(HTMLResponse):
    """A page that is rendered in a thread when it is sent, so that a long one does not hold the event loop."""

    def __init__(self, render: Callable[[], str], status_code: int, headers: Mapping[str, str]) -> None:
        super().__init__("", status_code, headers)
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = self.render(await run_in_threadpool(self._render))
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


class Renderer:
    """Templates and their common values in each language."""

    def __init__(self, context: PageContext) -> None:
        self._context, self._control, self._clock = context, context.control, context.clock
        self._conditions, self._links = context.extensions.conditions, _links_in_order(context.extensions.nav)
        self.files = {path.name: path.read_bytes() for path in STATIC.iterdir()}
        self._versions = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.files.items()}
        self._icons = frozenset(re.findall('<symbol id="([a-z-]+)"', self.files["icons.svg"].decode()))
        self._templates: dict[str, Environment] = {}
        self._latest = LatestIndex()

    def index(self) -> PolicyIndex:
        """Return the look-ups in the policy in force."""
        return self._latest.of(self._control.policy())

    def warm(self) -> None:
        """Load locale data, so that first requests are fast. Call it from any thread.

        A page's templates are loaded when it is first opened, in the language that it has then. Most pages are rarely
        opened.
        """
        english = language("en")
        load_templates(page_environment())  # gates and inspectors can't write what they compile
        now = self._clock()
        for age in (0.0, _LONG_AGO_S):
            english.clock(now - age, now, labels.zone("UTC"))

    def page(self, request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
        """Render a page in the language of the request."""
        return self._render(request, template, status_code, principal_of(request), values)

    def refusal(self, request: HTTPConnection, template: str, status_code: int, **values: Any) -> Response:
        """Render a page for a request that was not admitted."""
        return self._render(request, template, status_code, _ANONYMOUS, values)

    def error(
        self, request: HTTPConnection, status: int, text: str, values: Mapping[str, object] | None = None
    ) -> Response:
        """Render an error page; `text` and `values` are as in `InvalidInput`.

        The address of a form leads to the page that has it.
        """
        if status == METHOD_NOT_ALLOWED and request.scope["method"] == "GET":
            return redirect_to(nearest_page(request, request.url.path))
        text = language_of(request).gettext(text, **values or {})
        return self._render(
            request,
            "error.html",
            status,
            _ANONYMOUS,
            {"code": status, "message": text, "before": referring_page(request)},
        )

    def _render(
        self, request: HTTPConnection, template: str, code: int, principal: Principal, values: dict[str, Any]
    ) -> Response:
        now, status, reader, index = self._clock(), self._control.status(), language_of(request), self.index()
        where, path = labels.zone(status.timezone), request.url.path
        values = {
            "now": now,
            "timezone": status.timezone,
            "clock": lambda at: reader.clock(at, now, where),
            "principal": principal,
            "may": {scope.value: scope in principal.scopes for scope in AccessScope},
            "nav": self._nav(principal, nearest_page(request, path)),
            "path": path,
            "hue_of": lambda name: index.hues.get(name, 0),
            "profile_titles": {name: reader.gettext(profile.title) for name, profile in index.policy.profiles.items()},
            **forms_of(request).calls,
        } | values
        environment = self._environment(reader)

        def render() -> str:
            done = self._feedback(request, principal, reader)
            return environment.get_template(template).render(values, done=done)

        headers = {"Content-Language": reader.code, "Vary": "Accept-Language, Cookie"}
        return RenderedPage(render, code, headers)

    def _feedback(self, request: HTTPConnection, principal: Principal, reader: Language) -> Feedback | None:
        """Return what the address of a page asks to say about the form before. Waits for the disk."""
        query = request.query_params
        if (saved := query.get("saved", "")) in _SAID:
            return Feedback(reader.gettext(_SAID[saved]))
        if not principal.scopes or not saved:
            return self._context.feedback.get(query.get("done", "")) if principal.scopes else None
        if AccessScope.READ not in principal.scopes:  # nor any summary
            return None
        try:
            change = self._context.editor.store.change(int(saved) if saved.isdecimal() and len(saved) < 19 else 0)
        except NoSuchEntry:
            return None
        text = f"{change.summary} {enforcement_text(self._control.enforcement(), reader)}".strip()
        may_undo = AccessScope.MANAGE in principal.scopes and change.undone_at is None
        return Feedback(text, f"/changes/{change.id}/undo" if may_undo else "")

    def _nav(self, principal: Principal, path: str) -> list[NavEntry]:
        """Return the links of the pages that the principal may open."""
        index = self.index()
        shown = [link for link in self._links if link.scopes & principal.scopes and link.is_shown(index)]
        return [
            NavEntry(link.path, link.label, link.icon, _is_current(link.path, path), place >= _NAV_PLACES)
            for place, link in enumerate(shown)
        ]

    def _environment(self, reader: Language) -> Environment:
        if reader.code not in self._templates:
            environment = self._templates[reader.code] = make_environment(reader)
            environment.globals |= {
                "command": hedgerow_command(),
                "static": self._static_path,
                "icon": self._icon,
                "initials": labels.initials,
                "languages": LANGUAGES,
                "condition_words": self._conditions,
                "cards_at": lambda place, subject=None: self._context.cards(Place(place), subject),
                "grant_title": lambda grant: self._grant_title(grant, reader),
            }
        return self._templates[reader.code]

    def _grant_title(self, grant: Grant, reader: Language) -> str:
        words = self._conditions.get(grant.subject)
        return labels.grant_title(grant.subject, reader) if words is None else reader.gettext(words.lifted)

    def _static_path(self, name: str) -> str:
        """Return the path of a static file, with a version, so that browsers may keep it."""
        return f"/static/{name}?{self._versions[name]}"

    def _icon(self, name: str) -> Markup:
        """Return a symbol of `static/icons.svg`, which assistive technology skips.

        Raises KeyError for an unknown one.
        """
        if name not in self._icons:
            raise KeyError(f"icons.svg has no symbol '{name}'")
        path = self._static_path("icons.svg")
        return Markup('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>').format(
            path, name
        )


def principal_of(request: Request) -> Principal:
    """Return the signed-in principal; for a device's own pages, one without any scope."""
    return getattr(request.state, "principal", None) or _ANONYMOUS


def countries_by_name(reader: Language) -> list[tuple[str, str]]:
    """Return ISO 3166 codes and names, sorted by name."""
    return sorted(
        ((code, reader.country(code)) for code in COUNTRIES), key=lambda pair: normalize("NFD", pair[1]).casefold()
    )


def redirect_to(path: str) -> RedirectResponse:
    """Redirect after a form, so that reloading does not send it again. `path` must not come from the client."""
    return RedirectResponse(path, SEE_OTHER)


def with_session[R: Response](request: Request, response: R, cookie: str) -> R:
    """Give the browser the cookie of a session."""
    is_secure = request.url.scheme == "https"
    max_age = round(ONCE_SESSION_S if cookie.startswith(ONCE) else SESSION_LIFETIME_S)
    response.set_cookie(
        SESSION_COOKIE, cookie, max_age=max_age, httponly=True, samesite="strict", secure=is_secure, path="/"
    )
    return response


def client_of(request: Request) -> tuple[str, str, str]:
    """Return the client's IP address, its User-Agent header and the scheme by which it came."""
    return peer_address(request.scope), request.headers.get("user-agent", ""), request.url.scheme


def is_of_others(context: PageContext, address: str) -> bool:
    """Return whether a device is not an adult's, so that a session on it lasts some hours only."""
    view = context.control.device_at(address)
    return address not in LOCAL_PEERS and (view is None or not view.may_sign_in)


def redirect_after_save(path: str, change: PolicyChange | None, part: str = "") -> RedirectResponse:
    """Redirect to a page that reports a change of the policy file and offers to undo it.

    `change` is None if nothing changed.

    `part` is the id of the changed part of the page.
    """
    return redirect_to(f"{path}{'&' if '?' in path else '?'}saved={change.id if change else 0}{part and '#'}{part}")


def referring_page(request: HTTPConnection) -> str:
    """Return path and query of the page from which a form was sent, without what reported the form before.

    For a page, return the path of the one before, or `/` if the browser does not name one of ours.
    """
    if request.scope["method"] != "GET":
        return page_before(request)
    referrer = urlsplit(request.headers.get("referer", ""))
    is_ours = referrer.netloc == request.headers.get("host") and LOCAL_PATH.fullmatch(referrer.path)
    return nearest_page(request, referrer.path) if is_ours else "/"


def _links_in_order(added: Sequence[NavLink]) -> list[NavLink]:
    """Return the links of the navigation with those of features, each after the page that it names."""
    own = [NavLink(path=path, label=label, icon=icon, scopes=scopes) for path, label, icon, scopes in _NAV]
    return [link for each in own for link in (each, *(link for link in added if link.after == each.path))]


def _is_current(href: str, path: str) -> bool:
    first = f"/{path.split('/')[1]}"
    return path == href or _PARENTS.get(first) == href or (href != "/" and path.startswith(href + "/"))
