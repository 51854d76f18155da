"""Heads of HTTP/1 messages, read and written."""

from __future__ import annotations

import contextlib

import pytest
from linear_work import assert_linear

from hedgerow.proxy.http_head import HeadError, parse_head
from hedgerow.proxy.inspection.engine.flows import HeaderFields, HttpRequest, HttpResponse
from hedgerow.proxy.inspection.engine.heads import read_response_head, request_head, request_of, response_head


def read(*lines: str) -> HttpRequest:
    return request_of(parse_head("\r\n".join(lines), has_raw_target=True))


def test_a_url_is_taken_apart() -> None:
    request = read("GET HTTP://me:pw@A.example:8080/x?y HTTP/1.1", "Host: a.example:8080")
    assert (request.scheme, request.host, request.port, request.path) == ("http", "a.example", 8080, "/x?y")
    assert request.headers["authorization"] == "Basic bWU6cHc="
    assert read("GET http://me:pw@a/ HTTP/1.0", "Authorization: Basic eA==").headers.get_all("authorization") == [
        "Basic eA=="
    ]
    inside = read("GET https://a.example/ HTTP/1.1", "Host: a.example")
    assert (inside.scheme, inside.port) == ("https", 443)
    path = read("OPTIONS * HTTP/1.1", "Host: a")
    assert (path.path, path.host, path.scheme) == ("*", "", "")


def test_octets_that_are_no_ascii_go_on_as_they_are() -> None:
    for target in (b"/p\xc3\xa4ge?\xff", b"http://a/p\xc3\xa4ge?\xff"):
        request = read(f"GET {target.decode('latin-1')} HTTP/1.1", "Host: a", "X: \xe9")
        assert request.data.path == b"/p\xc3\xa4ge?\xff"
        assert request.data.headers.fields == ((b"Host", b"a"), (b"X", b"\xe9"))


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET a HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "",
    ],
)
def test_other_request_lines_are_refused(line: str) -> None:
    with pytest.raises(HeadError):
        read(line, "Host: a")


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 20 OK", b"HTTP/2.0 200 OK", b"ICY 200 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 2000 OK", b""]
)
def test_other_status_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_response_head(line + b"\r\n\r\n")


def test_an_http2_request_becomes_one_of_http1() -> None:
    fields = HeaderFields([(b"cookie", b"a=b"), (b"accept", b"*/*"), (b"cookie", b"c=d")])
    request = HttpRequest(
        method=b"POST", path=b"/x", headers=fields, http_version=b"HTTP/2.0", authority=b"xn--bcher-kva.example"
    )
    head = b"POST /x HTTP/1.1\r\nHost: xn--bcher-kva.example\r\naccept: */*\r\n%bcookie: a=b; c=d\r\n\r\n"
    assert request_head(request, has_body=False) == head % b""
    assert request_head(request, has_body=True) == head % b"transfer-encoding: chunked\r\n"


def test_closing_concerns_the_connection_of_the_client() -> None:
    for sent, kept in (
        (b"close", b""),
        (b"close, upgrade", b"Connection: upgrade\r\n"),
        (b"Upgrade", b"Connection: Upgrade\r\n"),
    ):
        request = HttpRequest(method=b"GET", path=b"/", headers=HeaderFields([(b"Host", b"a"), (b"Connection", sent)]))
        assert request_head(request, has_body=False) == b"GET / HTTP/1.1\r\nHost: a\r\n" + kept + b"\r\n"


def test_an_http2_response_gets_a_reason() -> None:
    response = HttpResponse(404, b"", HeaderFields([(b"x", b"y")]), http_version=b"HTTP/2.0")
    assert response_head(response) == b"HTTP/1.1 404 Not Found\r\nx: y\r\n\r\n"


@pytest.mark.parametrize("unit", [b" ", b"\t", b" \r\n", b"a \r\n b", b" \r", b"\n "])
def test_folded_lines_cost_no_more_than_their_length(unit: bytes) -> None:
    def work(head: bytes) -> None:
        with contextlib.suppress(ValueError):
            read_response_head(head)

    def make(size: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nB: " + unit * (size // len(unit)) + b"x\r\n\r\n"

    assert_linear(work, make, 4096)


def test_folded_lines_are_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: one \t\r\n two\n\tthree\r\nB: 1\r\n \r\n 2\r\n\r\n"
    fields = read_response_head(head).headers
    assert (fields["a"], fields["b"].split()) == ("one two three", ["1", "2"])
