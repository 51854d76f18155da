"""What every page needs: where its data is from, who asks, and how it is rendered."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hedgerow.dashboards.accounts import Accounts, Scope, Visitor
from hedgerow.dashboards.api.codes import CodeControl
from hedgerow.dashboards.api.control import Control, Status
from hedgerow.dashboards.api.time_routes import BudgetRow, TimeControl
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.policy_desk import PolicyDesk
from hedgerow.journal.changes import PolicyChange
from hedgerow.journal.read import Reader
from hedgerow.policies.endings import Ending
from hedgerow.policies.model import Policy

HERE = pathlib.Path(__file__).parent
SEE_OTHER = 303

_NAV = (
    ("/", "Today", frozenset({Scope.OPERATE, Scope.READ})),
    ("/people", "People", frozenset({Scope.READ})),
    ("/devices", "Devices", frozenset({Scope.OPERATE, Scope.READ})),
    ("/log", "Log", frozenset({Scope.READ})),
    ("/lists", "Lists", frozenset({Scope.READ})),
    ("/settings", "Settings", frozenset({Scope.READ})),
)
_NOBODY = Visitor("", frozenset())


@dataclass(frozen=True, slots=True)
class Site:
    """Passed to every group of pages."""

    reader: Reader
    control: Control
    accounts: Accounts
    desk: PolicyDesk
    clock: Callable[[], float]
    renderer: Renderer
    time: TimeControl | None = None
    codes: CodeControl | None = None

    def budgets(self) -> tuple[BudgetRow, ...]:
        """How everybody's time stands; those that nothing limits today are left out."""
        return tuple(row for row in self.time.budgets() if row.limit is not None) if self.time is not None else ()

    def endings(self, device: str) -> tuple[Ending, ...]:
        """What ends at a device within the next minutes."""
        return self.time.endings(device) if self.time is not None else ()

    def policy(self) -> Policy:
        return self.control.policy()


class Renderer:
    """Templates and what they all know."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control, self._clock = control, clock
        self.css = (HERE / "static" / "hedgerow.css").read_bytes()
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.globals |= {
            "css_version": hashlib.sha256(self.css).hexdigest()[:12],
            "reason_words": words.reason_words,
            "verdict_words": words.verdict_words,
            "ago": words.ago_words,
            "iso": words.iso,
        }

    def page(self, request: Request, template: str, code_of_answer: int = 200, **values: Any) -> Response:
        """A page for who asks."""
        return self._render(template, code_of_answer, visitor_of(request), request.url.path, request.query_params.get("saved", ""), values)

    def error(self, status: int, message: str) -> Response:
        """A refusal or an error as a page."""
        return self._render("error.html", status, _NOBODY, "", "", {"code": status, "message": message})

    def _render(self, template: str, code: int, visitor: Visitor, path: str, saved: str, values: dict[str, Any]) -> Response:
        now, status = self._clock(), self._status_for_page()
        where = words.zone(status.timezone)
        values = {
            "now": now,
            "timezone": status.timezone,
            "clock": lambda at: words.clock_words(at, now, where),
            "visitor": visitor,
            "may": {scope.value: scope in visitor.scopes for scope in Scope},
            "nav": [(href, label, _is_current(href, path)) for href, label, scopes in _NAV if scopes & visitor.scopes],
            "saved": saved if saved.isdecimal() and len(saved) < 19 else "",
        } | values
        return HTMLResponse(self._templates.get_template(template).render(values), code)

    def _status_for_page(self) -> Status:
        return self._control.status()


def visitor_of(request: Request) -> Visitor:
    """Who asks, as the guard found; somebody who may do nothing for a device."""
    return getattr(request.state, "visitor", None) or _NOBODY


def back_to(path: str, change: PolicyChange | None = None) -> RedirectResponse:
    """Where a form leads: reloading then does nothing twice. `path` is one of ours, never what the asker sent."""
    return RedirectResponse(f"{path}?{urlencode({'saved': change.id})}" if change else path, SEE_OTHER)


def _is_current(href: str, path: str) -> bool:
    return path == href or (href != "/" and path.startswith(href + "/"))
