"""Who may see what: the people in charge see everything, a filtered device only its own page, a foreign web site nothing.

`RouteGuard.admit` is pure; `GuardMiddleware` asks it for each request and adds the headers that every answer carries.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from hedgerow.dashboards.accounts import AccessScope, Principal

SESSION_COOKIE = "hedgerow_session"

LOCAL = "hedgerow.local"
"""The key of an ASGI scope by which the server tells that a request came over the Unix socket (`local_door`)."""

BODY_LIMIT = 64 * 1024
"""Bytes of a request's body; no form or JSON here needs more."""

CHECK_ZONE = "check.hedgerow.internal"
RESOLVER_CHECK_PATH = "/check/here.svg"
"""What a device loads under a name of that zone, which nobody but our resolver answers (`dns.check_names`)."""

PORTAL_PATH = "/captive-portal"

DEVICE_PATHS = frozenset(
    {
        PORTAL_PATH,
        "/device",
        "/device/time",
        "/device/code",
        "/device/voucher",
        "/device/conduct",
        "/device/kept",
        "/language",
        "/certificate",
        "/certificate/trusted.svg",
    }
    | {f"/static/hedgerow.{form}" for form in ("css", "js", "svg")}
    | {"/check", "/static/check.js", RESOLVER_CHECK_PATH}
    | {f"/certificate/hedgerow-ca.{form}" for form in ("mobileconfig", "crt", "pem")}
)
"""What every device of the network may have: its own page in its own language, and the certificate of the CA, which is no secret."""

PROXY_CONFIG_PATHS = frozenset({"/proxy.pac", "/wpad.dat"})
"""What browsers look for under any name (RFC draft WPAD: `http://wpad.DOMAIN/wpad.dat`), to configure themselves for the proxy."""

SIGN_IN_PATHS = frozenset({"/sign-in", "/sign-out"})

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MACHINE_PATHS = frozenset({"/metrics", "/healthz"})
_ADMIN_PREFIXES = ("/accounts", "/tokens", "/sessions")
_OPERATOR_READS = frozenset(
    {"/", "/start", "/devices", "/requests", "/grants", "/status", "/budgets", "/sittings", "/codes", "/vouchers", "/audit"}
    | {"/counter", "/counter/audit.csv"}
)
_OPERATOR_CHANGES = ("/requests/", "/grants", "/pause", "/resume", "/bonus", "/sittings/", "/codes", "/vouchers", "/counter/")
_FORWARDED = ("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with that, browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Admission:
    """`status` 200 lets the request through; anything else is the HTTP status of the refusal, and `why` its sentence.

    `visitor` is who is in charge, None for a device; 303 sends a browser to sign in.
    """

    principal: Principal | None
    status: int = 200
    why: str = ""


COMMAND_LINE = Principal("the command line", frozenset(AccessScope))


class Authenticator(Protocol):
    """Who has a session or a token; `accounts.Accounts`."""

    @property
    def has_any(self) -> bool: ...
    def principal_of_session(self, cookie: str) -> Principal | None: ...
    def principal_of_token(self, token: str) -> Principal | None: ...


@dataclass(frozen=True, slots=True)
class RouteGuard:
    """`hosts` tells names, beside IP addresses and localhost, by which the page may be reached.

    `token`, which is made anew at each start, opens everything to scripts at the machine.
    Until somebody has set a password, whoever sits at the machine is in charge; from then on he signs in as everybody does.
    """

    token: str = field(repr=False)
    authenticator: Authenticator = field(repr=False)
    hosts: Callable[[], Collection[str]] = frozenset

    def admit(self, peer: str, method: str, path: str, headers: Headers, may_sign_in: Callable[[str], bool]) -> Admission:
        """Judges a request by its head. `peer` is the address at the other end of the connection, as the kernel tells it."""
        names = headers.getlist("host")
        host = host_name(names[0]) if len(names) == 1 else None
        if path in PROXY_CONFIG_PATHS and method in {"GET", "HEAD"}:
            return Admission(None)
        if path == RESOLVER_CHECK_PATH and method == "GET" and host is not None and host.endswith(f".{CHECK_ZONE}"):
            return Admission(None)
        if host is None or not self._is_own_name(host):
            return Admission(None, 421, "Open this page by the address of the machine that runs Hedgerow.")
        is_local = _is_local_request(peer, host, headers)
        bearer = self._principal_of_bearer(headers, is_local)
        principal = bearer or self._principal_of_cookie(headers) or (self._local_principal(path) if is_local else None)
        if method not in _SAFE_METHODS and bearer is None and not is_same_origin(names[0], headers):
            return Admission(principal, 403, "This was not sent from a page of Hedgerow.")
        if path in DEVICE_PATHS or (principal is not None and path in SIGN_IN_PATHS):
            return Admission(principal)
        if principal is not None:
            return self._check_scope(principal, method, path)
        if not is_local and not may_sign_in(peer):
            return Admission(None, 403, "This page is for the people who manage this network.")
        if path in SIGN_IN_PATHS:
            return Admission(None)
        return Admission(None, 303 if method == "GET" and not _is_script_path(path) else 401, "Sign in first.")

    def _check_scope(self, principal: Principal, method: str, path: str) -> Admission:
        if principal.scopes & required_scopes(method in _SAFE_METHODS, path):
            return Admission(principal)
        return Admission(principal, 403, "You do not have permission to see or change this.")

    def _local_principal(self, path: str) -> Principal | None:
        if not self.authenticator.has_any:
            return Principal("this machine", frozenset(AccessScope))
        return Principal("this machine", frozenset({AccessScope.METRICS})) if path in _MACHINE_PATHS else None

    def _is_own_name(self, host: str) -> bool:
        return host == "localhost" or host in self.hosts() or parse_address(host) is not None

    def _principal_of_bearer(self, headers: Headers, is_local: bool) -> Principal | None:
        scheme, _, credential = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if is_local and hmac.compare_digest(credential.strip().encode(), self.token.encode()):
            return COMMAND_LINE
        return self.authenticator.principal_of_token(credential.strip())

    def _principal_of_cookie(self, headers: Headers) -> Principal | None:
        return self.authenticator.principal_of_session(cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE, ""))


def required_scopes(is_reading: bool, path: str) -> frozenset[AccessScope]:
    """Of which scopes one is needed. What is not named here is read with `read` and changed with `manage`.

    >>> sorted(required_scopes(True, "/log")), sorted(required_scopes(False, "/people/mia"))
    ([<AccessScope.READ: 'read'>], [<AccessScope.MANAGE: 'manage'>])
    """
    if path in _MACHINE_PATHS:
        return frozenset({AccessScope.METRICS})
    page = path.removeprefix("/api/v1")
    if page.startswith(_ADMIN_PREFIXES):
        return frozenset({AccessScope.ADMIN})
    if page.startswith("/account"):
        return frozenset(AccessScope)
    if is_reading:
        return frozenset({AccessScope.READ, AccessScope.OPERATE} if page in _OPERATOR_READS else {AccessScope.READ})
    return frozenset({AccessScope.OPERATE} if page.startswith(_OPERATOR_CHANGES) else {AccessScope.MANAGE})


def host_name(header: str) -> str | None:
    """The host of a Host header without its port, lower case; None where it is not one.

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
    """Whether a browser says that one of our own pages sent this. A client that says nothing is refused: it has the token for that."""
    origin = headers.get("origin")
    if origin is not None:
        return origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}
    return headers.get("sec-fetch-site") == "same-origin"


def _is_script_path(path: str) -> bool:
    return path.startswith("/api/") or path in _MACHINE_PATHS


class GuardMiddleware:
    """Refuses what the guard does not admit, bounds bodies, and puts the security headers on every answer."""

    def __init__(
        self, app: ASGIApp, guard: RouteGuard, may_sign_in: Callable[[str], bool], refuse: Callable[[AsgiScope, Admission], Response],
        secure_name: Callable[[], str | None],
    ) -> None:  # fmt: skip
        self._app, self._guard, self._may_sign_in, self._refuse, self._secure_name = app, guard, may_sign_in, refuse, secure_name

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
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

        peer = peer_address(scope)
        headers = Headers(scope=scope)
        admission = (
            Admission(COMMAND_LINE)
            if scope.get(LOCAL) is True
            else self._guard.admit(peer, scope["method"], scope["path"], headers, self._may_sign_in)
        )
        if admission.status == 200 and not _has_small_body(headers):
            admission = Admission(admission.principal, 413, "That is more than this form accepts.")
        if (better := secure_url(scope, headers, self._secure_name())) is not None and admission.status in (200, 303):
            await RedirectResponse(better, 308)(scope, receive, send_guarded)
            return
        if admission.status != 200:
            await self._refuse(scope, admission)(scope, receive, send_guarded)
            return
        scope.setdefault("state", {})["principal"] = admission.principal
        await self._app(scope, receive, send_guarded)


def secure_url(scope: AsgiScope, headers: Headers, secure_name: str | None) -> str | None:
    """Where a page that was asked for by HTTP is to be had by HTTPS, under a certificate that everybody can check; None: it stays.

    A device's own page stays: it must be reached whatever a device thinks of certificates.
    """
    path, host = scope["path"], headers.get("host", "")
    if scope["scheme"] != "http" or scope["method"] != "GET" or path in DEVICE_PATHS | PROXY_CONFIG_PATHS or _is_script_path(path):
        return None
    if secure_name is None or host_name(host) != secure_name:
        return None
    query = scope["query_string"].decode("ascii", "replace")
    return f"https://{host.strip().lower()}{quote(path)}{f'?{query}' if query else ''}"


def peer_address(scope: AsgiScope) -> str:
    """The address at the other end, an IPv4 one as such although it came to an IPv6 socket; empty where there is none."""
    client = scope.get("client")
    address = parse_address(client[0]) if client else None
    return "" if address is None else str(address)


def local_address(scope: AsgiScope) -> str:
    """The address at this end, whatever name it was found under; empty where there is none."""
    server = scope.get("server")
    address = parse_address(server[0]) if server else None
    return "" if address is None else str(address)


def _has_small_body(headers: Headers) -> bool:
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length) <= BODY_LIMIT


def _is_local_request(peer: str, host: str, headers: Headers) -> bool:
    """Exactly 127.0.0.1 and ::1: other loopback addresses may be devices. What a proxy passes on is not at the machine."""
    if peer not in {"127.0.0.1", "::1"} or any(name in headers for name in _FORWARDED):
        return False
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, an IPv4 one as such although it is written as IPv6; None for anything else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
