"""Routes and the access that each of them requires, declared together.

The guard reads its table from the routes of the finished application, so no path is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from hedgerow.dashboards.accounts import AccessScope


class Audience(StrEnum):
    """Callers of the routes that need no sign-in."""

    NETWORK = "network"  # every client, under any host name
    DEVICES = "devices"  # every device of the network
    SIGN_IN = "sign-in"  # devices on which somebody may sign in
    SETUP = "setup"  # every device of the network until the first password is set


type Access = AccessScope | Audience

OPERATE, READ, METRICS = AccessScope.OPERATE, AccessScope.READ, AccessScope.METRICS
MANAGE, ADMIN = AccessScope.MANAGE, AccessScope.ADMIN
NETWORK, DEVICES, SIGN_IN, SETUP = Audience.NETWORK, Audience.DEVICES, Audience.SIGN_IN, Audience.SETUP

_ACCESS_KEY = "x-hedgerow-access"
_SCRIPT_PATHS = ("/api/", "/metrics", "/device/time", "/device/state", "/captive-portal")


class ScopedRouter(APIRouter):
    """Router whose routes declare their access. The OpenAPI description shows it as `x-hedgerow-access`."""

    def serve[F: Callable[..., Any]](self, method: str, path: str, *access: Access, **options: Any) -> Callable[[F], F]:
        """Decorate an endpoint. The caller needs one of the scopes in `access`, or belongs to the audience."""

        def register(endpoint: F) -> F:
            extra = {_ACCESS_KEY: sorted(access)} | options.pop("openapi_extra", {})
            self.add_api_route(path, endpoint, methods=[method], openapi_extra=extra, **options)
            return endpoint

        return register


def declared_access(route: BaseRoute) -> frozenset[Access]:
    """Return what `ScopedRouter.serve` declared for a route, or an empty set."""
    names = (route.openapi_extra or {}).get(_ACCESS_KEY, ()) if isinstance(route, APIRoute) else ()
    return frozenset(AccessScope(name) if name in set(AccessScope) else Audience(name) for name in names)


class AccessTable:
    """The required access of every path, derived from an application's routes."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [
            (route.path_regex, frozenset(route.methods or ()), declared_access(route)) for route in routes if isinstance(route, APIRoute)
        ]

    def required(self, method: str, path: str) -> frozenset[Access]:
        """Return the access of the route that serves a request, or of the first one with the same path.

        Paths without a route need READ or, for methods that change something, MANAGE: only they may learn that nothing is there.
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


def get[F: Callable[..., Any]](path: str, *access: Access) -> Callable[[F], F]:
    """Mark a method of a page group as the page at `path`."""
    return _mark(PageRoute("GET", path, access))


def post[F: Callable[..., Any]](path: str, *access: Access) -> Callable[[F], F]:
    """Mark a method of a page group as the receiver of the form at `path`."""
    return _mark(PageRoute("POST", path, access))


def _mark[F: Callable[..., Any]](route: PageRoute) -> Callable[[F], F]:
    def mark(endpoint: F) -> F:
        endpoint.page_route = route  # type: ignore[attr-defined]
        return endpoint

    return mark


def wants_json(path: str) -> bool:
    """Return whether the callers of a path are scripts, which get errors as JSON."""
    return path.startswith(_SCRIPT_PATHS)
