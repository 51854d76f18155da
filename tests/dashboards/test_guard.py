"""Admission of requests by address, host name, credentials and the access that routes declare."""

import functools
from collections.abc import Collection
from unittest.mock import MagicMock

import pytest
from starlette.datastructures import Headers

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.app import create_app
from hedgerow.dashboards.guard import RouteGuard, host_name, secure_url
from hedgerow.dashboards.routes import AccessTable
from hedgerow.dashboards.scopes import ROLE_SCOPES, TOKEN_SCOPES, Role

TOKEN = "the-token"
HERE = "127.0.0.1:8053"
LAN = "192.168.1.2:8053"
BEARER = {"authorization": f"Bearer {TOKEN}"}
COOKIE = {"cookie": "hedgerow_session=anas"}
OPERATOR = {"cookie": "hedgerow_session=toms"}
SCRIPT = {"authorization": "Bearer manages"}
READER = {"authorization": "Bearer reads"}
SCRAPER = {"authorization": "Bearer scrapes"}
REPORTER = {"authorization": "Bearer reports"}
OURS = {"origin": f"http://{HERE}"}
ANA = Principal("ana", ROLE_SCOPES[Role.PARENT], "1")
MANAGER, DEVICE = "manager", "device"


@functools.cache
def routes():
    return create_app(MagicMock(), "").state.routes


class Credentials:
    """Ana is a parent, Tom works at the counter, and three scripts have tokens."""

    def __init__(self, has_any):
        self.has_any = has_any

    def principal_of_session(self, cookie, address=None):
        return {"anas": ANA, "toms": Principal("tom", ROLE_SCOPES[Role.OPERATOR], "2")}.get(cookie)

    def needs_password(self, principal: Principal, address: str, required: Collection[object]) -> bool:
        return False

    def principal_of_token(self, token, address=""):
        return {
            "manages": Principal("c", TOKEN_SCOPES["manage"]),
            "reads": Principal("a", TOKEN_SCOPES["read"]),
            "scrapes": Principal("b", TOKEN_SCOPES["metrics"]),
            "reports": Principal("d", TOKEN_SCOPES["leases"]),
        }.get(token)


def guard(has_any=False):
    return RouteGuard(TOKEN, Credentials(has_any), AccessTable(routes()), lambda: {"hedgerow.home"})


def admit(peer, host, method="GET", path="/", headers=None, may_sign_in=False, has_any=False):
    raw = [(b"host", host.encode())] if isinstance(host, str) else [(b"host", one.encode()) for one in host]
    raw += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    admission = guard(has_any).admit(peer, method, path, Headers(raw=raw), lambda _address, **_forwarded: may_sign_in)
    return admission.status, MANAGER if admission.principal else DEVICE


CASES = [
    # at the machine, which needs the setup code as well
    ("127.0.0.1", HERE, "GET", "/", {}, 303, DEVICE),
    ("127.0.0.1", HERE, "GET", "/start", {}, 200, DEVICE),
    ("127.0.0.1", HERE, "POST", "/start/password", OURS, 200, DEVICE),
    ("127.0.0.1", HERE, "POST", "/start/people", OURS, 401, DEVICE),
    ("127.0.0.1", HERE, "POST", "/pause", OURS, 401, DEVICE),
    ("127.0.0.1", HERE, "PUT", "/api/v1/policy", OURS, 401, DEVICE),
    ("127.0.0.1", "localhost:8053", "GET", "/metrics", {}, 200, MANAGER),
    ("::1", "[::1]:8053", "GET", "/api/v1/status", {}, 401, DEVICE),
    ("::1", "[::1]:8053", "GET", "/metrics", {}, 200, MANAGER),
    # other loopback addresses may be devices
    ("127.0.0.2", HERE, "GET", "/", {}, 303, DEVICE),
    ("127.0.0.2", HERE, "GET", "/device", {}, 200, DEVICE),
    # DNS rebinding: a foreign name, although it leads here
    ("127.0.0.1", "evil.example:8053", "GET", "/", {}, 421, DEVICE),
    ("127.0.0.1", "127.0.0.1.evil.example", "GET", "/", {}, 421, DEVICE),
    ("127.0.0.1", "localhost.evil.example", "GET", "/metrics", {}, 421, DEVICE),
    ("127.0.0.2", "evil.example", "GET", "/device", {}, 421, DEVICE),
    ("127.0.0.1", "", "GET", "/", {}, 421, DEVICE),
    ("127.0.0.1", [], "GET", "/", {}, 421, DEVICE),
    ("127.0.0.1", [HERE, "evil.example"], "GET", "/", {}, 421, DEVICE),
    # a token with a foreign name: still no
    ("127.0.0.1", "evil.example", "GET", "/", BEARER, 421, DEVICE),
    # the machine's address from outside of it, and a proxy on the machine
    ("127.0.0.1", LAN, "GET", "/", {}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {}, 303, DEVICE),
    ("192.168.1.31", HERE, "GET", "/", {}, 303, DEVICE),
    ("192.168.1.31", "localhost", "GET", "/", {}, 303, DEVICE),
    ("127.0.0.1", HERE, "GET", "/", {"x-forwarded-for": "192.168.1.31"}, 303, DEVICE),
    ("127.0.0.1", HERE, "GET", "/", {"via": "1.1 some-proxy"}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"x-forwarded-for": "127.0.0.1"}, 303, DEVICE),
    ("", HERE, "GET", "/", {}, 303, DEVICE),
    # the token and the session
    ("127.0.0.1", HERE, "GET", "/", BEARER, 200, MANAGER),
    ("192.168.1.31", LAN, "GET", "/", SCRIPT, 200, MANAGER),
    ("192.168.1.31", "hedgerow.home:8053", "GET", "/", SCRIPT, 200, MANAGER),
    # the machine's own token from anywhere else
    ("192.168.1.31", LAN, "GET", "/", BEARER, 303, DEVICE),
    ("192.168.1.31", HERE, "GET", "/", BEARER, 303, DEVICE),
    ("127.0.0.2", HERE, "GET", "/", BEARER, 303, DEVICE),
    ("127.0.0.1", HERE, "GET", "/", {**BEARER, "x-forwarded-for": "192.168.1.31"}, 303, DEVICE),
    ("", HERE, "GET", "/", BEARER, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", COOKIE, 200, MANAGER),
    ("192.168.1.31", LAN, "GET", "/", {"cookie": f"hedgerow_session={TOKEN}"}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"cookie": "hedgerow_session=unknown"}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"cookie": "hedgerow_session="}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": "Bearer "}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": f"Basic {TOKEN}"}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": f"Bearer {TOKEN}x"}, 303, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": "Bearer \xff"}, 303, DEVICE),
    # changes must come from our own pages, or with the token
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | OURS, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"sec-fetch-site": "same-origin"}, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", BEARER, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"origin": "http://evil.example"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"origin": "null"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"origin": "http://127.0.0.1:9999"}, 403, MANAGER),
    (
        "127.0.0.1",
        HERE,
        "POST",
        "/pause",
        COOKIE | {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
        403,
        MANAGER,
    ),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"sec-fetch-site": "cross-site"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"sec-fetch-site": "same-site"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", COOKIE | {"sec-fetch-site": "none"}, 403, MANAGER),
    ("127.0.0.1", HERE, "DELETE", "/api/v1/grants/x", COOKIE | {"origin": "http://evil.example"}, 403, MANAGER),
    ("192.168.1.31", LAN, "POST", "/pause", {**COOKIE, "origin": "http://evil.example"}, 403, MANAGER),
    ("192.168.1.31", LAN, "POST", "/pause", {**COOKIE, "origin": f"http://{LAN}"}, 200, MANAGER),
    # a filtered device: its own page and nothing else
    *(
        ("192.168.1.31", LAN, "GET", path, {}, 403, DEVICE)
        for path in ("/metrics", "/api/v1/status", "/api/v1/openapi.json")
    ),
    # a browser that looks for a proxy asks any name, without credentials
    *(
        ("192.168.1.31", host, method, path, {}, 200, DEVICE)
        for host in (LAN, "pages.example")
        for method in ("GET", "HEAD")
        for path in ("/wpad.dat", "/proxy.pac")
    ),
    # until the first password is set, its other pages are the guide, which needs the setup code
    ("192.168.1.31", LAN, "GET", "/start", {}, 200, DEVICE),
    ("192.168.1.31", LAN, "POST", "/start/password", {"origin": f"http://{LAN}"}, 200, DEVICE),
    ("192.168.1.31", LAN, "POST", "/start/password", {"origin": "http://evil.example"}, 403, DEVICE),
    ("192.168.1.31", LAN, "POST", "/start/people", {"origin": f"http://{LAN}"}, 403, DEVICE),
    *(
        ("192.168.1.31", LAN, "GET", path, {}, 303, DEVICE)
        for path in (
            "/",
            "/sign-in",
            "/Device",
            "/device/",
            "//device",
            "/device/..",
            "/static/",
        )
    ),
    ("192.168.1.31", LAN, "GET", "/static/hedgerow.css", {}, 200, DEVICE),
    ("192.168.1.31", LAN, "POST", "/pause", {"origin": f"http://{LAN}"}, 403, DEVICE),
]


@pytest.mark.parametrize(("peer", "host", "method", "path", "headers", "status", "role"), CASES)
def test_admission(peer, host, method, path, headers, status, role):
    assert admit(peer, host, method, path, headers) == (status, role)


def test_a_filtered_device_once_there_is_a_password():
    for path in (
        "/",
        "/sign-in",
        "/start",
        "/people",
        "/metrics",
        "/Device",
        "/device/",
        "//device",
        "/device/..",
        "/static/",
    ):
        assert admit("192.168.1.31", LAN, path=path, has_any=True) == (403, DEVICE), path
    for headers in ({}, BEARER, {"cookie": "hedgerow_session=unknown"}, {"authorization": f"Bearer {TOKEN}x"}):
        assert admit("192.168.1.31", LAN, headers=headers, has_any=True) == (403, DEVICE)
    assert admit("192.168.1.31", LAN, "POST", "/start/password", {"origin": f"http://{LAN}"}, has_any=True) == (
        403,
        DEVICE,
    )
    assert admit("192.168.1.31", LAN, path="/device", has_any=True) == (200, DEVICE)


def test_an_adults_device_must_sign_in_first():
    phone = "192.168.1.5"
    known = {"may_sign_in": True, "has_any": True}
    assert admit(phone, LAN, path="/sign-in", **known)[0] == 200
    assert admit(phone, LAN, "POST", "/sign-in", {"origin": f"http://{LAN}"}, **known)[0] == 200
    assert admit(phone, LAN, "POST", "/sign-in", {"origin": "http://evil.example"}, **known)[0] == 403
    assert admit(phone, LAN, path="/", **known)[0] == 303
    for path in ("/api/v1/status", "/metrics"):
        assert admit(phone, LAN, path=path, **known)[0] == 401
    assert admit(phone, LAN, "POST", "/pause", {"origin": f"http://{LAN}"}, **known)[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        # once there is a password, who sits at the machine signs in as well
        ("GET", "/", {}, 303),
        ("GET", "/start", {}, 303),
        ("GET", "/sign-in", {}, 200),
        ("POST", "/start/password", OURS, 401),
        ("POST", "/pause", OURS, 401),
        ("GET", "/api/v1/status", {}, 401),
        ("GET", "/metrics", {}, 200),
        ("GET", "/", COOKIE, 200),
        ("GET", "/", BEARER, 200),
    ],
)
def test_admission_on_this_machine_with_a_password(method, path, headers, status):
    assert admit("127.0.0.1", HERE, method, path, headers, has_any=True)[0] == status


@pytest.mark.parametrize(
    ("headers", "allowed", "refused"),
    [
        (
            COOKIE,
            ["GET /log", "POST /people", "POST /changes/1/undo", "GET /account", "GET /metrics"],
            ["POST /settings/accounts", "GET /api/v1/tokens"],
        ),
        (
            OPERATOR,
            [
                "GET /",
                "GET /devices",
                "POST /pause",
                "POST /requests/1/approve",
                "POST /grants/new",
                "GET /account",
                "GET /api/v1/requests",
            ],
            [
                "GET /log",
                "GET /people",
                "GET /why",
                "POST /people",
                "POST /devices/name",
                "POST /settings/accounts",
                "GET /api/v1/decisions",
                "GET /metrics",
            ],
        ),
        (
            READER,
            ["GET /api/v1/decisions", "GET /api/v1/status", "GET /log"],
            ["POST /api/v1/pause", "GET /metrics", "POST /people", "GET /api/v1/tokens"],
        ),
        (REPORTER, [], ["GET /", "GET /metrics", "GET /api/v1/status", "POST /api/v1/pause", "PATCH /api/v1/policy"]),
        (SCRAPER, ["GET /metrics"], ["GET /", "GET /api/v1/status", "GET /api/v1/decisions", "POST /api/v1/pause"]),
    ],
)
def test_scopes_of_roles_and_tokens(headers, allowed, refused):
    for status, requests in ((200, allowed), (403, refused)):
        for request in requests:
            method, path = request.split()
            assert (
                admit("192.168.1.5", LAN, method, path, headers | {"origin": f"http://{LAN}"}, has_any=True)[0]
                == status
            ), request


@pytest.mark.parametrize(
    ("headers", "request_line", "who"),
    [
        (COOKIE, "POST /settings/accounts", "Only an admin may"),
        (OPERATOR, "GET /people", "Only parents and admins may"),
        (OPERATOR, "PATCH /api/v1/policy", "Only parents and admins may"),
        (OPERATOR, "GET /api/v1/accounts", "Only an admin may"),
        (READER, "PATCH /api/v1/policy", "Only a token of the scope manage may"),
        (READER, "POST /api/v1/pause", "Only a token of the scope manage may"),
        (SCRAPER, "GET /api/v1/devices", "Only a token of the scope read or manage may"),
        (SCRIPT, "GET /api/v1/tokens", "Only an admin who is signed in may"),
    ],
)
def test_a_refusal_says_who_may_do_it(headers, request_line, who):
    method, path = request_line.split()
    raw = [
        (name.encode(), value.encode()) for name, value in {"host": LAN, "origin": f"http://{LAN}", **headers}.items()
    ]
    admission = guard(has_any=True).admit("192.168.1.5", method, path, Headers(raw=raw), lambda _address: False)
    assert admission.status == 403
    assert admission.why.startswith(f"{who} see or change this"), admission.why


def test_every_route_declares_its_access_and_can_be_built():
    assert len(routes()) > 100
    for route in routes():
        assert route.built.path_regex == route.path_regex
        assert route.built.methods == route.methods
    assert [route.path for route in routes() if not route.access] == []


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("[::1]", "::1"),
        ("[::1]:", None),
        ("Localhost", "localhost"),
        ("localhost:x", None),
        (":8053", None),
        ("::1", None),
        ("a b", "a b"),
    ],
)
def test_host_name(header, host):
    assert host_name(header) == host


def test_the_token_does_not_show_in_logs():
    assert TOKEN not in repr(guard())


@pytest.mark.parametrize(
    ("host", "path", "scheme", "method", "leads"),
    [
        ("pages.home.example:8053", "/log", "http", "GET", "https://pages.home.example:8053/log"),
        ("Pages.Home.Example", "/a b", "http", "GET", "https://pages.home.example/a%20b"),
        ("pages.home.example:8053", "/log", "https", "GET", None),
        ("pages.home.example:8053", "/log", "http", "POST", None),
        ("192.168.1.2:8053", "/log", "http", "GET", None),
        ("pages.home.example.evil.example", "/log", "http", "GET", None),
        ("pages.home.example:8053", "/device", "http", "GET", None),
        ("pages.home.example:8053", "/api/v1/status", "http", "GET", None),
    ],
)
def test_redirects_to_https(host, path, scheme, method, leads):
    scope = {"type": "http", "scheme": scheme, "method": method, "path": path, "query_string": b""}
    required = AccessTable(routes()).required(method, path)
    assert secure_url(scope, Headers({"host": host}), "pages.home.example", required) == leads
    assert secure_url(scope, Headers({"host": host}), None, required) is None
