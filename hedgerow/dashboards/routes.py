"""Routes and the access that each of them requires, declared together.

The guard reads its table from the routes of the finished application, so no path is written twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from hedgerow.dashboards.passwords import PasswordNeeded
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.words.languages import message

if TYPE_CHECKING:
    from fastapi.routing import APIRoute


class Audience(StrEnum):
    """Callers of the routes that need no sign-in."""

    NETWORK = "network"  # every client, under any host name
    DEVICES = "devices"  # every device of the network
    SIGN_IN = "sign-in"  # devices on which somebody may sign in
    SETUP = "setup"  # every device of the network until the first password is set


type Access = AccessScope | Audience

OPERATE, READ, METRICS = AccessScope.OPERATE, AccessScope.READ, AccessScope.METRICS
LEASES, MANAGE, ADMIN = AccessScope.LEASES, AccessScope.MANAGE, AccessScope.ADMIN
NETWORK, DEVICES, SIGN_IN, SETUP = Audience.NETWORK, Audience.DEVICES, Audience.SIGN_IN, Audience.SETUP

_AGAIN = message(
    "You signed in without HTTPS, so a change needs your password from time to time: others could use your sign-in."
)
_ACCESS_KEY = "x-hedgerow-access"
_SCRIPT_PATHS = ("/api/", "/metrics", "/device/time", "/device/state", "/captive-portal")


class ScopedRoute(BaseRoute):
    """Route with the access that it requires.

    FastAPI's route is built by the first request for it: that takes two milliseconds and 30 kB, and most routes are
    rarely used.
    """

    def __init__(
        self, *, method: str, path: str, access: frozenset[Access], build: Callable[[], APIRoute], page: str
    ) -> None:
        self.path, self.methods, self.access, self.page = path, frozenset({method}), access, page
        self.path_regex = compile_path(path)[0]
        self._build = build

    @functools.cached_property
    def built(self) -> APIRoute:
        """The route of FastAPI."""
        return self._build()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not self.path_regex.match(scope["path"]):
            return Match.NONE, {}
        return (Match.FULL if scope["method"] in self.methods else Match.PARTIAL), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("state", {}).pop("needs_password", False):
            raise PasswordNeeded(_AGAIN)
        _, child_scope = self.built.matches(scope)
        scope.update(child_scope)
        await self.built.handle(scope, receive, send)


class ScopedRouter:
    """Collection of routes that declare their access. The OpenAPI description shows it as `x-hedgerow-access`.

    `options` are those of FastAPI's `APIRouter`.
    """

    def __init__(self, *, prefix: str = "", **options: Any) -> None:
        self._prefix, self._options = prefix, options
        self.routes: list[ScopedRoute] = []

    def serve[F: Callable[..., Any]](
        self, method: str, path: str, *access: Access, page: str = "", **options: Any
    ) -> Callable[[F], F]:
        """Decorate an endpoint. The caller needs one of the scopes in `access`, or belongs to the audience.

        `page` is as in `post`.
        """

        def register(endpoint: F) -> F:
            extra = {_ACCESS_KEY: sorted(access)} | options.pop("openapi_extra", {})

            def build() -> APIRoute:
                from fastapi import APIRouter  # not before there is a request
                from fastapi.routing import APIRoute

                router = APIRouter(prefix=self._prefix, **self._options)
                router.add_api_route(path, endpoint, methods=[method], openapi_extra=extra, **options)
                (route,) = router.routes
                assert isinstance(route, APIRoute)
                return route

            self.routes.append(
                ScopedRoute(method=method, path=self._prefix + path, access=frozenset(access), build=build, page=page)
            )
            return endpoint

        return register


class AccessTable:
    """The required access of every path, derived from an application's routes."""

    def __init__(self, routes: Iterable[ScopedRoute]) -> None:
        self._routes = [(route.path_regex, route.methods, route.access) for route in routes]

    def required(self, method: str, path: str) -> frozenset[Access]:
        """Return the access of the route that serves a request, or of the first one with the same path.

        Paths without a route need READ or, for methods that change something, MANAGE: only they may learn that nothing
        is there.
        """
        method = "GET" if method == "HEAD" else method
        fallback = None
        for pattern, methods, access in self._routes:
            if pattern.match(path):
                if method in methods:
                    return access
                fallback = fallback or access
        return fallback or frozenset({READ if method in {"GET", "OPTIONS"} else MANAGE})

    def methods(self, path: str) -> list[str]:
        """Return the methods that a path serves, sorted."""
        return sorted({method for pattern, methods, _ in self._routes if pattern.match(path) for method in methods})


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A route as a page's method declares it."""

    method: str
    path: str
    access: tuple[Access, ...]
    page: str = ""


def get[F: Callable[..., Any]](path: str, *access: Access) -> Callable[[F], F]:
    """Mark a method of a page group as the page at `path`."""
    return _mark(PageRoute("GET", path, access))


def post[F: Callable[..., Any]](path: str, *access: Access, page: str = "") -> Callable[[F], F]:
    """Mark a method of a page group as the receiver of the form at `path`.

    `page` is the path of the page that has the form, with parameters of `path`, unless it is the nearest one above.
    """
    return _mark(PageRoute("POST", path, access, page))


def _mark[F: Callable[..., Any]](route: PageRoute) -> Callable[[F], F]:
    def mark(endpoint: F) -> F:
        endpoint.page_route = route  # type: ignore[attr-defined]
        return endpoint

    return mark


def wants_json(path: str) -> bool:
    """Return whether the callers of a path are scripts, which get errors as JSON."""
    return path.startswith(_SCRIPT_PATHS)
