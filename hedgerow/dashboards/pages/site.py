"""What every page needs: where its data is from, who asks, and how it is rendered."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize
from urllib.parse import urlsplit

from fastapi import Request
from jinja2 import Environment
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hedgerow.dashboards.accounts import Accounts, Scope, Visitor
from hedgerow.dashboards.api.codes import CodeControl
from hedgerow.dashboards.api.control import Control
from hedgerow.dashboards.api.time_routes import BudgetRow, TimeControl
from hedgerow.dashboards.api.vouchers import VoucherControl
from hedgerow.dashboards.kept_desk import KeptDesk
from hedgerow.dashboards.notices import NoticeDesk
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.languages import Language, language, language_of, message
from hedgerow.dashboards.pages.templating import environment
from hedgerow.dashboards.policy_desk import PolicyDesk
from hedgerow.journal.changes import PolicyChange
from hedgerow.journal.read import Reader
from hedgerow.policies.languages import LANGUAGES
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.network_settings import COUNTRIES
from hedgerow.policies.times.endings import Ending

HERE = pathlib.Path(__file__).parent
SEE_OTHER = 303
_LONG_AGO_S = 400 * 86400.0
COUNTER = "/counter"
OWN_PATH = re.compile(r"/(?:[\w.%~-]+(?:/[\w.%~-]+)*)?", re.ASCII)
"""Paths that a browser is led to: never another machine's."""
NOT_OURS = message("This device is not part of this network.")

_NAV = (
    ("/", message("Today"), frozenset({Scope.OPERATE, Scope.READ})),
    (COUNTER, message("Counter"), frozenset({Scope.OPERATE})),
    ("/people", message("People"), frozenset({Scope.READ})),
    ("/devices", message("Devices"), frozenset({Scope.OPERATE, Scope.READ})),
    ("/log", message("Log"), frozenset({Scope.READ})),
    ("/lists", message("Lists"), frozenset({Scope.READ})),
    ("/settings", message("Settings"), frozenset({Scope.READ})),
)
_NOBODY = Visitor("", frozenset())


@dataclass(frozen=True, slots=True)
class Site:
    """Passed to every group of pages."""

    reader: Reader
    control: Control
    accounts: Accounts
    desk: PolicyDesk
    kept: KeptDesk
    clock: Callable[[], float]
    renderer: Renderer
    time: TimeControl | None = None
    codes: CodeControl | None = None
    vouchers: VoucherControl | None = None
    notices: NoticeDesk | None = None

    def budgets(self) -> tuple[BudgetRow, ...]:
        """How everybody's time stands; those that nothing limits today are left out."""
        return tuple(row for row in self.time.budgets() if row.limit is not None) if self.time is not None else ()

    def endings(self, device: str) -> tuple[Ending, ...]:
        """What ends at a device within the next minutes."""
        return self.time.endings(device) if self.time is not None else ()

    def policy(self) -> Policy:
        return self.control.policy()


class Renderer:
    """Templates and what they all know, in each language."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control, self._clock = control, clock
        self.files = {path.name: path.read_bytes() for path in (HERE / "static").iterdir()}
        self._versions = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.files.items()}
        self._templates: dict[str, Environment] = {}

    def warm(self) -> None:
        """Makes the first look at each page as quick as the next ones; takes half a second, in any thread."""
        reader = language("en")
        made = self._environment(reader)
        for name in made.list_templates():
            made.get_template(name)
        now = self._clock()
        for age in (0.0, _LONG_AGO_S):
            reader.clock(now - age, now, words.zone("UTC"))

    def page(self, request: Request, template: str, code_of_answer: int = 200, **values: Any) -> Response:
        """A page for who asks, in their language."""
        return self._render(request, template, code_of_answer, visitor_of(request), values)

    def error(self, request: HTTPConnection, status: int, text: str, values: Mapping[str, object] | None = None) -> Response:
        """A refusal or an error as a page; `text` and `values` are as `Unfit` has them."""
        told = language_of(request).gettext(text, **values or {})
        return self._render(request, "error.html", status, _NOBODY, {"code": status, "message": told, "before": page_before(request)})

    def _render(self, request: HTTPConnection, template: str, code: int, visitor: Visitor, values: dict[str, Any]) -> Response:
        now, status, reader = self._clock(), self._control.status(), language_of(request)
        where, path, saved = words.zone(status.timezone), request.url.path, request.query_params.get("saved", "")
        values = {
            "now": now,
            "timezone": status.timezone,
            "clock": lambda at: reader.clock(at, now, where),
            "visitor": visitor,
            "may": {scope.value: scope in visitor.scopes for scope in Scope},
            "nav": self._nav(visitor, path),
            "path": path,
            "profile_titles": {name: reader.gettext(profile.title) for name, profile in self._control.policy().profiles.items()},
            "saved": saved if saved == "erased" or (saved.isdecimal() and len(saved) < 19) else "",
        } | values
        text = self._environment(reader).get_template(template).render(values)
        return HTMLResponse(text, code, {"Content-Language": reader.code, "Vary": "Accept-Language, Cookie"})

    def _nav(self, visitor: Visitor, path: str) -> list[tuple[str, str, bool]]:
        """Where this visitor may go. A counter is for those who have seats."""
        has_seats = any(device.is_seat for device in self._control.policy().devices.values())
        allowed = [(href, label) for href, label, scopes in _NAV if scopes & visitor.scopes]
        return [(href, label, _is_current(href, path)) for href, label in allowed if has_seats or href != COUNTER]

    def _environment(self, reader: Language) -> Environment:
        if reader.code not in self._templates:
            self._templates[reader.code] = self._new_environment(reader)
        return self._templates[reader.code]

    def _new_environment(self, reader: Language) -> Environment:
        made = environment(reader)
        made.globals |= {
            "static": lambda name: f"/static/{name}?{self._versions[name]}",
            "languages": LANGUAGES,
        }
        return made


def visitor_of(request: Request) -> Visitor:
    """Who asks, as the guard found; somebody who may do nothing for a device."""
    return getattr(request.state, "visitor", None) or _NOBODY


def named_countries(reader: Language) -> list[tuple[str, str]]:
    """Codes and names, in the order of the names."""
    return sorted(((code, reader.country(code)) for code in COUNTRIES), key=lambda pair: normalize("NFD", pair[1]).casefold())


def back_to(path: str) -> RedirectResponse:
    """Where a form leads: reloading then does nothing twice. `path` is one of ours, never what the asker sent."""
    return RedirectResponse(path, SEE_OTHER)


def saved_at(path: str, change: PolicyChange | None, place: str = "") -> RedirectResponse:
    """Like `back_to` after a change of the policy file, which the page then tells of; None: there was nothing to change.

    `place` is the part of the page that was changed, so that nobody has to look for it again.
    """
    return back_to(f"{path}?saved={change.id if change else 0}{place and '#'}{place}")


def page_before(request: HTTPConnection) -> str:
    """The page of ours on which a button was pressed, the first one where the browser does not say."""
    came_from = urlsplit(request.headers.get("referer", ""))
    is_ours = came_from.netloc == request.headers.get("host") and OWN_PATH.fullmatch(came_from.path)
    return came_from.path if is_ours else "/"


def _is_current(href: str, path: str) -> bool:
    return path == href or (href != "/" and path.startswith(href + "/"))
