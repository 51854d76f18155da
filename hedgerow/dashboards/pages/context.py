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

from hedgerow.dashboards.accounts import AccessScope, Accounts, Principal
from hedgerow.dashboards.api.codes import CodeControl, VoucherControl
from hedgerow.dashboards.api.time import BudgetRow, TimeControl
from hedgerow.dashboards.control import Control
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.notices import NoticeDispatcher
from hedgerow.dashboards.templating import make_environment
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language, language, language_of, message
from hedgerow.journal.policy_history import PolicyChange
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import Policy
from hedgerow.policies.text.locales import COUNTRIES, LANGUAGES

STATIC = pathlib.Path(__file__).parents[1] / "static"
SEE_OTHER = 303
_LONG_AGO_S = 400 * 86400.0
COUNTER_PATH = "/counter"
LOCAL_PATH = re.compile(r"/(?:[\w.%~-]+(?:/[\w.%~-]+)*)?", re.ASCII)
"""Paths that a browser is led to: never another machine's."""
NOT_IN_NETWORK = message("This device is not part of this network.")

_NAV = (
    ("/", message("Today"), frozenset({AccessScope.OPERATE, AccessScope.READ})),
    (COUNTER_PATH, message("Counter"), frozenset({AccessScope.OPERATE})),
    ("/people", message("People"), frozenset({AccessScope.READ})),
    ("/devices", message("Devices"), frozenset({AccessScope.OPERATE, AccessScope.READ})),
    ("/log", message("Log"), frozenset({AccessScope.READ})),
    ("/lists", message("Lists"), frozenset({AccessScope.READ})),
    ("/settings", message("Settings"), frozenset({AccessScope.READ})),
)
_ANONYMOUS = Principal("", frozenset())


@dataclass(frozen=True, slots=True)
class PageContext:
    """Passed to every group of pages."""

    reader: JournalReader
    control: Control
    accounts: Accounts
    editor: PolicyEditor
    data_export: DataExport
    clock: Callable[[], float]
    renderer: Renderer
    time: TimeControl | None = None
    codes: CodeControl | None = None
    vouchers: VoucherControl | None = None
    notices: NoticeDispatcher | None = None

    def budgets(self) -> tuple[BudgetRow, ...]:
        """How everybody's time stands; those that nothing limits today are left out."""
        return tuple(row for row in self.time.budgets() if row.limit is not None) if self.time is not None else ()

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        """What ends at a device within the next minutes."""
        return self.time.endings(device) if self.time is not None else ()

    def policy(self) -> Policy:
        return self.control.policy()


class Renderer:
    """Templates and what they all know, in each language."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control, self._clock = control, clock
        self.files = {path.name: path.read_bytes() for path in STATIC.iterdir()}
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
            reader.clock(now - age, now, labels.zone("UTC"))

    def page(self, request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
        """A page for who asks, in their language."""
        return self._render(request, template, status_code, principal_of(request), values)

    def error(self, request: HTTPConnection, status: int, text: str, values: Mapping[str, object] | None = None) -> Response:
        """A refusal or an error as a page; `text` and `values` are as `InvalidInput` has them."""
        told = language_of(request).gettext(text, **values or {})
        return self._render(request, "error.html", status, _ANONYMOUS, {"code": status, "message": told, "before": referring_page(request)})

    def _render(self, request: HTTPConnection, template: str, code: int, principal: Principal, values: dict[str, Any]) -> Response:
        now, status, reader = self._clock(), self._control.status(), language_of(request)
        where, path, saved = labels.zone(status.timezone), request.url.path, request.query_params.get("saved", "")
        values = {
            "now": now,
            "timezone": status.timezone,
            "clock": lambda at: reader.clock(at, now, where),
            "principal": principal,
            "may": {scope.value: scope in principal.scopes for scope in AccessScope},
            "nav": self._nav(principal, path),
            "path": path,
            "profile_titles": {name: reader.gettext(profile.title) for name, profile in self._control.policy().profiles.items()},
            "saved": saved if saved == "erased" or (saved.isdecimal() and len(saved) < 19) else "",
        } | values
        text = self._environment(reader).get_template(template).render(values)
        return HTMLResponse(text, code, {"Content-Language": reader.code, "Vary": "Accept-Language, Cookie"})

    def _nav(self, principal: Principal, path: str) -> list[tuple[str, str, bool]]:
        """Where this visitor may go. A counter is for those who have seats."""
        has_seats = any(device.is_seat for device in self._control.policy().devices.values())
        allowed = [(href, label) for href, label, scopes in _NAV if scopes & principal.scopes]
        return [(href, label, _is_current(href, path)) for href, label in allowed if has_seats or href != COUNTER_PATH]

    def _environment(self, reader: Language) -> Environment:
        if reader.code not in self._templates:
            self._templates[reader.code] = self._new_environment(reader)
        return self._templates[reader.code]

    def _new_environment(self, reader: Language) -> Environment:
        made = make_environment(reader)
        made.globals |= {
            "static": lambda name: f"/static/{name}?{self._versions[name]}",
            "languages": LANGUAGES,
        }
        return made


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard found; somebody who may do nothing for a device."""
    return getattr(request.state, "principal", None) or _ANONYMOUS


def countries_by_name(reader: Language) -> list[tuple[str, str]]:
    """Codes and names, in the order of the names."""
    return sorted(((code, reader.country(code)) for code in COUNTRIES), key=lambda pair: normalize("NFD", pair[1]).casefold())


def redirect_to(path: str) -> RedirectResponse:
    """Where a form leads: reloading then does nothing twice. `path` is one of ours, never what the asker sent."""
    return RedirectResponse(path, SEE_OTHER)


def redirect_after_save(path: str, change: PolicyChange | None, place: str = "") -> RedirectResponse:
    """Like `redirect_to` after a change of the policy file, which the page then tells of; None: there was nothing to change.

    `place` is the part of the page that was changed, so that nobody has to look for it again.
    """
    return redirect_to(f"{path}?saved={change.id if change else 0}{place and '#'}{place}")


def referring_page(request: HTTPConnection) -> str:
    """The page of ours on which a button was pressed, the first one where the browser does not say."""
    came_from = urlsplit(request.headers.get("referer", ""))
    is_ours = came_from.netloc == request.headers.get("host") and LOCAL_PATH.fullmatch(came_from.path)
    return came_from.path if is_ours else "/"


def _is_current(href: str, path: str) -> bool:
    return path == href or (href != "/" and path.startswith(href + "/"))
