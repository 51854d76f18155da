"""Who is admitted where."""

import stat

import pytest
from starlette.datastructures import Headers

from hedgerow.dashboards.api.guard import Guard, Role, host_name, load_token

TOKEN = "the-token"
GUARD = Guard(TOKEN, frozenset({"hedgerow.home"}))
MANAGER, DEVICE = Role.MANAGER, Role.DEVICE
HERE = "127.0.0.1:8053"
LAN = "192.168.1.2:8053"
BEARER = {"authorization": f"Bearer {TOKEN}"}
COOKIE = {"cookie": f"hedgerow_session={GUARD.session()}"}
OURS = {"origin": f"http://{HERE}"}


def admit(peer, host, method="GET", path="/", headers=None, may_sign_in=False):
    raw = [(b"host", host.encode())] if isinstance(host, str) else [(b"host", one.encode()) for one in host]
    raw += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    admission = GUARD.admit(peer, method, path, Headers(raw=raw), lambda _address: may_sign_in)
    return admission.status, admission.role


CASES = [
    # at the machine
    ("127.0.0.1", HERE, "GET", "/", {}, 200, MANAGER),
    ("127.0.0.1", "localhost:8053", "GET", "/metrics", {}, 200, MANAGER),
    ("::1", "[::1]:8053", "GET", "/api/v1/status", {}, 200, MANAGER),
    # other loopback addresses may be devices
    ("127.0.0.2", HERE, "GET", "/", {}, 403, DEVICE),
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
    ("127.0.0.1", LAN, "GET", "/", {}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {}, 403, DEVICE),
    ("192.168.1.31", HERE, "GET", "/", {}, 403, DEVICE),
    ("192.168.1.31", "localhost", "GET", "/", {}, 403, DEVICE),
    ("127.0.0.1", HERE, "GET", "/", {"x-forwarded-for": "192.168.1.31"}, 403, DEVICE),
    ("127.0.0.1", HERE, "GET", "/", {"via": "1.1 some-proxy"}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"x-forwarded-for": "127.0.0.1"}, 403, DEVICE),
    ("", HERE, "GET", "/", {}, 403, DEVICE),
    # the token and the session
    ("192.168.1.31", LAN, "GET", "/", BEARER, 200, MANAGER),
    ("192.168.1.31", "hedgerow.home:8053", "GET", "/", BEARER, 200, MANAGER),
    ("192.168.1.31", LAN, "GET", "/", COOKIE, 200, MANAGER),
    ("192.168.1.31", LAN, "GET", "/", {"cookie": f"hedgerow_session={TOKEN}"}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"cookie": "hedgerow_session="}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": "Bearer "}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": f"Basic {TOKEN}"}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": f"Bearer {TOKEN}x"}, 403, DEVICE),
    ("192.168.1.31", LAN, "GET", "/", {"authorization": "Bearer \xff"}, 403, DEVICE),
    # changes must come from our own pages, or with the token
    ("127.0.0.1", HERE, "POST", "/pause", OURS, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"sec-fetch-site": "same-origin"}, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", BEARER, 200, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"origin": "http://evil.example"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"origin": "null"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"origin": "http://127.0.0.1:9999"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"sec-fetch-site": "cross-site"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"sec-fetch-site": "same-site"}, 403, MANAGER),
    ("127.0.0.1", HERE, "POST", "/pause", {"sec-fetch-site": "none"}, 403, MANAGER),
    ("127.0.0.1", HERE, "DELETE", "/api/v1/grants/x", {"origin": "http://evil.example"}, 403, MANAGER),
    ("192.168.1.31", LAN, "POST", "/pause", {**COOKIE, "origin": "http://evil.example"}, 403, MANAGER),
    ("192.168.1.31", LAN, "POST", "/pause", {**COOKIE, "origin": f"http://{LAN}"}, 200, MANAGER),
    # a filtered device: its own page and nothing else
    *(
        ("192.168.1.31", LAN, "GET", path, {}, 403, DEVICE)
        for path in (
            "/metrics",
            "/healthz",
            "/api/v1/status",
            "/api/v1/openapi.json",
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


def test_a_grown_ups_device_may_sign_in_but_sees_no_more_before_it_did():
    assert admit("192.168.1.5", LAN, path="/sign-in", may_sign_in=True)[0] == 200
    assert admit("192.168.1.5", LAN, "POST", "/sign-in", {"origin": f"http://{LAN}"}, may_sign_in=True)[0] == 200
    assert admit("192.168.1.5", LAN, "POST", "/sign-in", {"origin": "http://evil.example"}, may_sign_in=True)[0] == 403
    assert admit("192.168.1.5", LAN, path="/", may_sign_in=True)[0] == 403


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


def test_the_token_is_made_once_and_for_the_owner_only(tmp_path):
    path = tmp_path / "admin-token"
    token = load_token(path)
    assert len(token) >= 43
    assert load_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("")
    assert load_token(path) not in {"", token}


def test_the_token_does_not_show_in_logs():
    assert TOKEN not in repr(GUARD)
