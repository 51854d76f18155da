"""Access control of every request.

Parents and operators need a role, a filtered device sees only its own page, other sites nothing.

`RouteGuard.admit` is pure. `GuardMiddleware` applies it and adds the security headers to every response.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow.dashboards.accounts import COMMAND_LINE, LOCAL, Principal
from hedgerow.dashboards.credentials import SESSION_COOKIE as SESSION_COOKIE
from hedgerow.dashboards.credentials import bearer_token, session_cookie
from hedgerow.dashboards.routes import (
    ADMIN,
    DEVICES,
    LEASES,
    MANAGE,
    METRICS,
    NETWORK,
    OPERATE,
    READ,
    SETUP,
    SIGN_IN,
    Access,
    AccessTable,
    wants_json,
)
from hedgerow.dashboards.words.languages import message
from hedgerow.policies.text.addresses import parse_client_address
from hedgerow.policies.text.yaml_tree import MAX_BYTES

BODY_LIMIT = 64 * 1024
"""Maximum size of a request body in bytes, except for `DOCUMENT_PATHS`."""

DOCUMENT_PATHS = frozenset({"/api/v1/policy", "/api/v1/organisation/versions", "/organisation/edit", "/account/again"})
DOCUMENT_LIMIT = MAX_BYTES
"""Path and maximum size in bytes of a whole policy."""

CHECK_ZONE = "check.hedgerow.internal"
RESOLVER_CHECK_PATH = "/check/here.svg"
"""Devices load this path under a name of that zone, which only our resolver answers (`dns.check_names`)."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGING: frozenset[Access] = frozenset({OPERATE, LEASES, MANAGE, ADMIN})
_FORWARDED = ("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Admission:
    """Result of `RouteGuard.admit`.

    Status 200 admits, 303 redirects to sign in or set up, and others refuse with the sentence `why`.

    `principal` is None for a device without a sign-in.
    """

    principal: Principal | None
    status: int = 200
    why: str = ""


_LOCAL_SCRAPER = Principal("this machine", frozenset({METRICS}))

LOCAL_PEERS = frozenset({"127.0.0.1", "::1"})
"""Addresses of this machine's own programs. Other loopback addresses may belong to devices."""

NOT_IN_CHARGE = "This page is for the people who manage this network."


class SignInRule(Protocol):
    """Return whether somebody may sign in at an address. `is_forwarded`: a proxy states that it is not the client's."""

    def __call__(self, address: str, /, *, is_forwarded: bool) -> bool: ...


class Authenticator(Protocol):
    """Sessions and tokens; implemented by `accounts.Accounts`."""

    @property
    def has_any(self) -> bool: ...
    def principal_of_session(self, cookie: str, address: str | None = None) -> Principal | None: ...
    def principal_of_token(self, token: str, address: str = "") -> Principal | None: ...
    def needs_password(self, principal: Principal, address: str, required: Collection[object]) -> bool: ...


@dataclass(frozen=True, slots=True)
class RouteGuard:
    """The admission of requests by the access that `routes` declare.

    `token` is made at each start and gives scripts on this machine every scope. `hosts` returns the host names of the
    pages, besides IP addresses and localhost. Until the first password is set, browsers get the guide, whose first step
    needs the setup code.
    """

    token: str = field(repr=False)
    authenticator: Authenticator = field(repr=False)
    routes: AccessTable
    hosts: Callable[[], Collection[str]] = frozenset

    def admit(self, peer: str, method: str, path: str, headers: Headers, may_sign_in: SignInRule) -> Admission:
        """Decide about a request from its head. `peer` is the IP address of the connection."""
        required = self.routes.required(method, path)
        names = headers.getlist("host")
        host = host_name(names[0]) if len(names) == 1 else None
        if NETWORK in required and method in {"GET", "HEAD"}:
            return Admission(None)
        if path == RESOLVER_CHECK_PATH and method == "GET" and host is not None and host.endswith(f".{CHECK_ZONE}"):
            return Admission(None)
        if host is None or (host not in {"localhost", *self.hosts()} and parse_client_address(host) is None):
            return Admission(None, 421, "Open this page by the address of the machine that runs Hedgerow.")
        is_local = _is_local_request(peer, host, headers)
        bearer = self._principal_of_bearer(headers, peer, is_local=is_local)
        principal = (
            bearer
            or self.authenticator.principal_of_session(session_cookie(headers), peer)
            or (_LOCAL_SCRAPER if is_local and required == {METRICS} else None)
        )
        if method not in _SAFE_METHODS and bearer is None and not is_same_origin(names[0], headers):
            return Admission(
                principal, 403, "This was not sent from a page of Hedgerow. Go back, and use the button on the page."
            )
        if DEVICES in required:
            return Admission(principal)
        if principal is not None:
            if SIGN_IN in required or principal.scopes & required:
                return Admission(principal)
            return Admission(principal, 403, _token_refusal(required) if bearer is not None else _refusal(required))
        is_page = method in {"GET", "HEAD"} and not wants_json(path)
        if not self.authenticator.has_any and (SETUP in required or is_page):
            return Admission(None, 200 if SETUP in required else 303)
        if not is_local and not may_sign_in(peer, is_forwarded=is_forwarded(headers)):
            return Admission(None, 403, NOT_IN_CHARGE)
        if SIGN_IN in required:
            return Admission(None)
        return Admission(None, 303 if is_page else 401, "Sign in first.")

    def _principal_of_bearer(self, headers: Headers, peer: str, *, is_local: bool) -> Principal | None:
        credential = bearer_token(headers)
        if credential and is_local and hmac.compare_digest(credential.encode(), self.token.encode()):
            return COMMAND_LINE
        return self.authenticator.principal_of_token(credential, peer) if credential else None


ONLY_PARENTS = message("Only parents and admins may see or change this.")


def _refusal(required: frozenset[Access]) -> str:
    """Return the sentence for an account whose role does not include what a path needs."""
    return ONLY_PARENTS if required & {READ, METRICS, MANAGE} else message("Only an admin may see or change this.")


def _token_refusal(required: frozenset[Access]) -> str:
    """Return the sentence for a token. Of the scopes of tokens, `manage` includes `operate`."""
    wanted = required | {MANAGE} if OPERATE in required else required
    scopes = [each.value for each in (READ, METRICS, LEASES, MANAGE) if each in wanted]
    if not scopes:
        return "Only an admin who is signed in may see or change this, and no token."
    return f"Only a token of the scope {' or '.join(scopes)} may see or change this."


def host_name(header: str) -> str | None:
    """Return the host of a Host header in lower case without its port, or None if it is malformed.

    >>> host_name("[::1]:8053"), host_name("LocalHost:8053"), host_name("127.0.0.1"), host_name("a:b:c")
    ('::1', 'localhost', '127.0.0.1', None)
    """
    host, colon, port = header.strip().lower().rpartition(":")
    if not colon or header.endswith("]"):
        host, port = header.strip().lower(), "0"
    if not port.isdecimal():
        return None
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1]
    return None if not host or ":" in host else host


def is_same_origin(host: str, headers: Headers) -> bool:
    """Return whether a browser states that one of our own pages sent the request. Other clients must use a token."""
    origin = headers.get("origin")
    if origin is not None:
        return origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}
    return headers.get("sec-fetch-site") == "same-origin"


class GuardMiddleware:
    """Middleware that refuses requests which the guard does not admit, limits bodies, and adds the security headers."""

    def __init__(
        self,
        app: ASGIApp,
        guard: RouteGuard,
        may_sign_in: SignInRule,
        refuse: Callable[[Scope, Admission], Response],
        secure_name: Callable[[], str | None],
    ) -> None:
        self._app, self._guard, self._may_sign_in, self._refuse, self._secure_name = (
            app,
            guard,
            may_sign_in,
            refuse,
            secure_name,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        admission = self._admit(scope, headers)
        better = secure_url(
            scope, headers, self._secure_name(), self._guard.routes.required(scope["method"], scope["path"])
        )
        if admission.status in (200, 303) and better is not None:
            await RedirectResponse(better, 308)(scope, receive, send_guarded)
        elif admission.status != 200:
            await self._refuse(scope, admission)(scope, receive, send_guarded)
        else:
            scope.setdefault("state", {}).update(
                principal=admission.principal,
                needs_password=self._needs_password(scope, admission.principal),
                admission_of_page=lambda path: self._admit({**scope, "method": "GET", "path": path}, headers),
            )
            await self._app(scope, receive, send_guarded)

    def _needs_password(self, scope: Scope, principal: Principal | None) -> bool:
        """Return whether a request changes something, and its cookie may have been read on its way."""
        peer, required = peer_address(scope), self._guard.routes.required(scope["method"], scope["path"])
        return (
            scope["method"] not in _SAFE_METHODS
            and not _came_securely(peer, Headers(scope=scope))
            and required <= _CHANGING
            and principal is not None
            and self._guard.authenticator.needs_password(principal, peer, required)
        )

    def _admit(self, scope: Scope, headers: Headers) -> Admission:
        if scope.get(LOCAL) is True:
            admission = Admission(COMMAND_LINE)
        else:
            admission = self._guard.admit(
                peer_address(scope), scope["method"], scope["path"], headers, self._may_sign_in
            )
        limit = DOCUMENT_LIMIT if scope["path"] in DOCUMENT_PATHS and admission.principal is not None else BODY_LIMIT
        if admission.status == 200 and not _has_small_body(headers, limit):
            return Admission(admission.principal, 413, "That is more than this form accepts.")
        return admission


def secure_url(scope: Scope, headers: Headers, secure_name: str | None, required: frozenset[Access]) -> str | None:
    """Return the HTTPS address of a page requested over HTTP by `secure_name`, whose certificate every device trusts,
    or None.

    Pages of devices stay on HTTP: they must open on a device that trusts no certificate.
    """
    if (
        scope["scheme"] != "http"
        or scope["method"] != "GET"
        or required & {DEVICES, NETWORK}
        or wants_json(scope["path"])
    ):
        return None
    host = headers.get("host", "")
    if secure_name is None or host_name(host) != secure_name:
        return None
    query = scope["query_string"].decode("ascii", "replace")
    return f"https://{host.strip().lower()}{quote(scope['path'])}{f'?{query}' if query else ''}"


def peer_address(scope: Scope) -> str:
    """Return the client's IP address, or an empty text. IPv4 clients of an IPv6 socket have an IPv4 address."""
    client = scope.get("client")
    address = parse_client_address(client[0]) if client else None
    return "" if address is None else str(address)


def local_address(scope: Scope) -> str:
    """Return the IP address that the client connected to, or an empty text."""
    server = scope.get("server")
    address = parse_client_address(server[0]) if server else None
    return "" if address is None else str(address)


def _has_small_body(headers: Headers, limit: int) -> bool:
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length) <= limit


def is_forwarded(headers: Headers) -> bool:
    """Return whether a proxy states that a request is somebody else's."""
    return any(name in headers for name in _FORWARDED)


def _came_securely(peer: str, headers: Headers) -> bool:
    """Return whether a request did not cross the network in plain text on its way to this machine's port: it is this
    machine's own, or a proxy on it says that it came by HTTPS.
    """
    return peer in LOCAL_PEERS and (not is_forwarded(headers) or headers.get("x-forwarded-proto") == "https")


def _is_local_request(peer: str, host: str, headers: Headers) -> bool:
    """Return whether a request is from this machine itself, and not forwarded by a proxy."""
    if peer not in LOCAL_PEERS or is_forwarded(headers):
        return False
    address = parse_client_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
