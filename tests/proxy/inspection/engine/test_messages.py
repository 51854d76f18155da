"""Ambiguous messages: refused on every head of every connection, and no byte of them reaches an origin."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from proxy_stand import Stand
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.engine.messages import has_control_characters, request_fault, response_fault

CHILD, CHILD_WITH_CA = "127.0.0.12", "127.0.0.11"
HOST = "www.school.example"
POST = f"POST /page HTTP/1.1\r\nHost: {HOST}\r\n"
GET = f"GET /page HTTP/1.1\r\nHost: {HOST}\r\n"
BODY = f"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"

NOT_IMPLEMENTED = {"an unknown coding", "a list of codings"}
"""Answered with 501 (RFC 9112, section 6.1), all others with 400."""

REFUSED = {
    "CL.TE": POST + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "TE.CL": POST + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + BODY,
    "an unknown coding": POST + "Transfer-Encoding: xchunked\r\n\r\n" + BODY,
    "a space before the colon": POST + "Transfer-Encoding : chunked\r\n\r\n" + BODY,
    "two codings": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + BODY,
    "a list of codings": POST + "Transfer-Encoding: identity, chunked\r\n\r\n" + BODY,
    "a coding behind a vertical tab": POST + "Transfer-Encoding: \x0bchunked\r\n\r\n" + BODY,
    "a folded coding": POST + "Transfer-Encoding:\r\n chunked\r\n\r\n" + BODY,
    "a coding in a folded field": POST + "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "a folded field": GET + "X: a\r\n b\r\n\r\n",
    "a coding behind a bare CR": POST + "X: a\rTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "a coding behind a bare LF": POST + "X: a\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "NUL in a name": POST + "X\0: a\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": POST + "X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a length with a sign": POST + "Content-Length: +5\r\n\r\nabcde",
    "a list of lengths": POST + "Content-Length: 5, 5\r\n\r\nabcde",
    "a length twice": POST + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a hexadecimal length": POST + "Content-Length: 0x5\r\n\r\nabcde",
    "lines that end with LF": GET.replace("\r\n", "\n") + "\n",
    "two hosts": GET + "Host: adult.example\r\n\r\n",
    "a host with a user": GET.replace(HOST, f"x@{HOST}") + "\r\n",
    "HTTP/1.2": GET.replace("HTTP/1.1", "HTTP/1.2") + "\r\n",
    "a path that two servers resolve differently": GET.replace("/page", "/x/..%2fsecret") + "\r\n",
    "a control character in the path": GET.replace("/page", "/pa\x01ge") + "\r\n",
    "CONNECT": f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "CONNECT to what is blocked": f"CONNECT adult.example:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
}


def statuses(sock: socket.socket, words: str) -> list[str]:
    """The statuses of all that is answered to `words` until nothing more comes for a while or the connection ends."""
    sock.settimeout(20)  # the first answer may take long on a machine with other work
    sock.sendall(words.encode("latin-1"))
    found = b""
    try:
        while piece := sock.recv(65536):
            found += piece
            sock.settimeout(0.7)
    except OSError:
        pass
    return re.findall(r"HTTP/1\.1 ([0-9]{3})", found.decode("latin-1"))


@pytest.fixture
def reached(net: SmallInternet) -> Iterator[list[str]]:
    """Filled with the targets of all requests that reached an origin, once the test is over; checked here."""
    allowed: list[str] = []
    yield allowed
    assert {target for _, target in net.origins.requests()} <= set(allowed)


def inside_tls(stand: Stand, net: SmallInternet, alpn: Sequence[str]) -> ssl.SSLSocket:
    sock = socket.create_connection(stand.proxy, 5, source_address=(CHILD_WITH_CA, 0))
    sock.sendall(f"CONNECT {HOST}:{net.origins.https_port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert b" 200 " in sock.recv(999)
    context = ssl.create_default_context(cafile=str(stand.ca))
    context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(sock, server_hostname=HOST)


def status_of(name: str) -> str:
    return "501" if name in NOT_IMPLEMENTED else "400"


@pytest.mark.parametrize("name", REFUSED)
def test_a_kept_connection_is_as_strict_as_a_new_one(
    stand: Stand, net: SmallInternet, reached: list[str], name: str
) -> None:
    reached.append("/open")
    with socket.create_connection(stand.proxy, 5, source_address=(CHILD, 0)) as sock:
        first = net.url(HOST, "/open", "http")
        assert statuses(sock, f"GET {first} HTTP/1.1\r\nHost: {HOST}\r\n\r\n") == ["200"]
        assert statuses(sock, REFUSED[name]) == [status_of(name)]


@pytest.mark.parametrize("name", REFUSED)
def test_inside_tls_it_is_as_strict(stand: Stand, net: SmallInternet, reached: list[str], name: str) -> None:
    assert reached == []
    with inside_tls(stand, net, ["http/1.1"]) as sock:
        assert statuses(sock, REFUSED[name]) == [status_of(name)]


@pytest.mark.parametrize("fields", ["X: y\r\n" * 1100, f"X: {'y' * 70_000}\r\n"], ids=["many", "long"])
@pytest.mark.parametrize("end", ["\r\n", ""], ids=["whole", "begun"])
def test_a_later_head_is_no_longer_than_the_first(
    stand: Stand, net: SmallInternet, reached: list[str], fields: str, end: str
) -> None:
    reached.append("/page")
    with inside_tls(stand, net, ["http/1.1"]) as sock:
        assert statuses(sock, GET + "\r\n") == ["200"]
        assert statuses(sock, GET + fields + end) == ["431"]
    assert [target for _, target in net.origins.requests()] == ["/page"]


def test_https_is_asked_for_by_connect_alone(stand: Stand, net: SmallInternet, reached: list[str]) -> None:
    reached.append("/open")
    with socket.create_connection(stand.proxy, 5, source_address=(CHILD, 0)) as sock:
        assert statuses(sock, f"GET {net.url(HOST, '/open', 'http')} HTTP/1.1\r\nHost: {HOST}\r\n\r\n") == ["200"]
        assert statuses(sock, f"GET https://{HOST}/page HTTP/1.1\r\nHost: {HOST}\r\n\r\n") == ["400"]


def ask_http2(sock: ssl.SSLSocket, fields: Sequence[tuple[str, str]], body: bytes | None) -> str:
    """The status that a request with exactly these fields gets, or `refused` where the stream or the connection is
    ended.
    """
    settings = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
    )
    connection = h2.connection.H2Connection(settings)
    connection.initiate_connection()
    connection.send_headers(1, fields, end_stream=body is None)
    if body is not None:
        connection.send_data(1, body, end_stream=True)
    sock.sendall(connection.data_to_send())
    sock.settimeout(5)
    while data := sock.recv(65536):
        for event in connection.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    headers: dict[Any, Any] = dict(event.headers)  # of str, because of header_encoding
                    return str(headers[":status"])
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return "refused"
    return "refused"


PSEUDO = {":method": "GET", ":scheme": "https", ":authority": HOST, ":path": "/page"}
LINE = f"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"


@pytest.mark.parametrize(
    ("pseudo", "fields", "body", "expected"),
    [
        ({}, {}, None, {"200"}),
        ({}, {"x": "a" + LINE}, None, {"refused"}),
        ({}, {"x": "a\nb: c"}, None, {"refused"}),
        ({}, {"x": "a\0b"}, None, {"refused"}),
        ({}, {"x: y\r\nz": "a"}, None, {"refused"}),
        ({":path": "/page HTTP/1.1" + LINE}, {}, None, {"refused"}),
        ({":path": "/pa ge"}, {}, None, {"400"}),
        ({":path": "page"}, {}, None, {"400"}),
        ({":path": "https://adult.example/"}, {}, None, {"400"}),
        ({":path": "@adult.example/"}, {}, None, {"400"}),
        ({":path": "/x/..%2Fsecret"}, {}, None, {"400"}),
        ({":method": "GET / HTTP/1.1" + LINE + "GET"}, {}, None, {"refused"}),
        ({":method": "GE T"}, {}, None, {"400"}),
        ({":method": "CONNECT"}, {}, None, {"400", "refused"}),
        ({":authority": HOST + "\r\n"}, {}, None, {"refused"}),
        ({":authority": "adult.example"}, {}, None, {"403"}),
        ({}, {"host": "adult.example"}, None, {"403", "refused"}),
        ({":scheme": "ftp"}, {}, None, {"400"}),
        ({":method": "POST"}, {"transfer-encoding": "chunked"}, BODY.encode(), {"refused"}),
        ({":method": "POST"}, {"content-length": "3"}, b"abc" + LINE.encode(), {"refused"}),
        ({}, {"connection": "close"}, None, {"refused"}),
        ({}, {":path": "/secret"}, None, {"refused"}),
        ({}, {":y": "z"}, None, {"refused"}),
    ],
)
def test_http2_carries_nothing_into_http1(
    stand: Stand,
    net: SmallInternet,
    reached: list[str],
    pseudo: dict[str, str],
    fields: dict[str, str],
    body: bytes | None,
    expected: set[str],
) -> None:
    reached += ["/page"] if expected == {"200"} else []
    with inside_tls(stand, net, ["h2"]) as sock:
        assert ask_http2(sock, [*(PSEUDO | pseudo).items(), *fields.items()], body) in expected


@pytest.mark.parametrize(
    "path", ["/", "/a/../b", "/a%2fb", "/a/..b/c", "/search?q=..%2f..", "/..%2520", "/%e4%bd%a0", "/p\u00e4ge", "*"]
)
def test_what_browsers_ask_for_has_no_fault(path: str) -> None:
    request = http.Request.make(
        "OPTIONS" if path == "*" else "GET", "http://a.example/", headers=[(b"host", b"a.example")]
    )
    request.data.path = path.encode()
    assert request_fault(request, names_whole_url=True) is None


@pytest.mark.parametrize(
    "path", ["/a/..%2fb", "/a%2f..%2fb", "/a%2F%2e%2E/b", "/a/%2e.%5cb", "/a\\..\\b", "/a%5c..", "/%2f.."]
)
def test_a_parent_behind_an_escape_has_two_meanings(path: str) -> None:
    request = http.Request.make("GET", "http://a.example/", headers=[(b"host", b"a.example")])
    request.data.path = path.encode()
    assert request_fault(request, names_whole_url=True) is not None


@given(st.binary(max_size=80))
def test_any_value_is_split_or_is_not(value: bytes) -> None:
    response = http.Response.make(200, b"", [(b"x", value)])
    assert (response_fault(response) is None) is not any(each in value for each in b"\r\n\0")


@given(st.text("ab:/ \t", max_size=40), st.integers(0, 1000), st.sampled_from([0, 0x0A, 0x0B, 0x0D, 0x7F]))
def test_a_clear_head_becomes_unclear_by_one_byte(value: str, place: int, byte: int) -> None:
    line, field = b"GET / HTTP/1.1", b"X: a" + value.encode()
    assert not has_control_characters(line + b"\r\n" + field + b"\r\n\r\n")
    place = 1 + place % (len(field) - 1)
    spoilt = field[:place] + bytes([byte]) + field[place:]
    assert has_control_characters(line + b"\r\n" + spoilt + b"\r\n\r\n")
