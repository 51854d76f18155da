"""The parser of request heads: valid and refused heads, in any pieces."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.proxy.http_head import (
    MAX_HEAD,
    Authority,
    HeadError,
    HeadReader,
    RequestHead,
    forward_head,
    parse_authority,
    parse_status_line,
    parse_target,
)

GOOD = [
    b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nProxy-Connection: keep-alive\r\n\r\n",
    b"GET http://example.org/ HTTP/1.0\r\n\r\n",
    b"\r\nGET http://example.org/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST http://example.org/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST http://example.org/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET http://example.org/ HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Spaced:  \t b c \t \r\nX-High: \xe9\r\n\r\n",
]

REFUSED = {
    "TE and CL": (
        400,
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    "CL twice, different": (
        400,
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ),
    "CL twice, the same": (
        400,
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
    ),
    "CL a list": (400, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"),
    "CL with a sign": (400, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"),
    "CL without digits": (400, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
    "CL in other digits": (400, "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: ²\r\n\r\n".encode("latin-1")),
    "TE twice": (
        400,
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    "TE unknown": (501, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    "TE with a tail": (501, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
    "TE in 1.0": (400, b"POST http://a/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "space before the colon": (400, b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"),
    "no name": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    "a name with a space": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX Y: x\r\n\r\n"),
    "a name with a high byte": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX\xe9: x\r\n\r\n"),
    "no colon": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n"),
    "obs-fold": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    "obs-fold with a tab": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"),
    "folded first field": (400, b"GET http://a/ HTTP/1.1\r\n Host: a\r\n\r\n"),
    "bare LF": (400, b"GET http://a/ HTTP/1.1\nHost: a\n\n"),
    "bare LF inside": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare CR": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n"),
    "bare CR in the request line": (400, b"GET http://a/\rHTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in a value": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n"),
    "NUL in a name": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"),
    "a control character": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n"),
    "two spaces": (400, b"GET  http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space in the target": (400, b"GET http://a/ b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a raw high byte in the target": (400, b"GET http://a/\xe9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no version": (400, b"GET http://a/\r\n\r\n"),
    "HTTP/1.2": (400, b"GET http://a/ HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no Host": (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    "Host twice": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01"),
    "binary": (400, b"\x00\x01\x02"),
    "two empty lines": (400, b"\r\n\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a long target": (414, b"GET http://a/" + b"x" * 33_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "many fields": (431, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1100 + b"\r\n"),
    "an endless head": (431, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD),
    "an endless method": (431, b"G" * (MAX_HEAD + 1)),
}


def read_whole(data: bytes) -> RequestHead | HeadError | None:
    try:
        return HeadReader().feed(data)
    except HeadError as error:
        return error


def read_in_pieces(data: bytes, sizes: list[int]) -> RequestHead | HeadError | None:
    reader, position = HeadReader(), 0
    try:
        for size in [*sizes, len(data)]:
            head = reader.feed(data[position : position + size])
            position += size
            if head is not None:
                return head
    except HeadError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("begun", "is_refused"),
    [
        (b"\x16", True),
        (b"GET http://a/ HTTP/1.1\n", True),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\nX: y\r\n", False),  # it is once the head is complete
    ],
)
def test_a_request_line_is_refused_before_its_fields(begun: bytes, is_refused: bool) -> None:
    assert isinstance(read_whole(begun), HeadError) == is_refused
    assert isinstance(read_whole(begun + b"\r\n\r\n"), HeadError)


def same(one: object, other: object) -> bool:
    if isinstance(one, HeadError):
        return isinstance(other, HeadError)
    return one == other


@pytest.mark.parametrize("data", GOOD)
def test_reads_requests(data: bytes) -> None:
    reader = HeadReader()
    head = reader.feed(data)
    assert head is not None
    assert data.endswith(reader.rest)
    assert head.method in {"GET", "POST", "CONNECT"}
    assert same(read_in_pieces(data, [1] * len(data)), head)


def test_white_space_around_values_is_stripped() -> None:
    head = read_whole(GOOD[-1])
    assert isinstance(head, RequestHead)
    assert (head.get("x-empty"), head.get("x-spaced"), head.get("x-high"), head.get("none", "-")) == (
        "",
        "b c",
        "é",
        "-",
    )


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_refuses(status: int, data: bytes) -> None:
    for found in (read_whole(data), read_in_pieces(data, [1] * len(data))):
        assert isinstance(found, HeadError), found
        assert found.status == status


LINES = st.sampled_from(
    [
        b"GET http://a/ HTTP/1.1",
        b"Host: a",
        b"X: y",
        b" folded",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"",
        b"\0",
        b"a\rb",
        b":",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\n", b"\r", b""])
MESSY = st.lists(st.tuples(LINES, ENDS), max_size=8).map(lambda parts: b"".join(line + end for line, end in parts))


@given(data=st.one_of(MESSY, st.binary(max_size=200)), sizes=st.lists(st.integers(1, 30), max_size=20))
@example(data=b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", sizes=[1] * 40)
@example(data=b"\r\n folded\r", sizes=[2])
def test_pieces_make_no_difference(data: bytes, sizes: list[int]) -> None:
    whole = read_whole(data)
    assert same(whole, read_in_pieces(data, sizes))
    if isinstance(whole, RequestHead):  # nothing that was let through could be read otherwise by a laxer server
        text = "".join(name + value for name, value in whole.fields) + whole.method + whole.target
        assert not set(text) & {"\r", "\n", "\0"}
        assert len(whole.values("host")) == 1 or whole.minor == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.org:443", Authority("example.org", 443)),
        ("EXAMPLE.org.:443", Authority("example.org", 443)),
        ("[2001:DB8::1]:443", Authority("2001:db8::1", 443)),
        ("192.0.2.1:8443", Authority("192.0.2.1", 8443)),
        ("example.org", None),
        ("example.org:", None),
        ("example.org:0", None),
        ("example.org:65536", None),
        ("example.org:443:443", None),
        ("user@example.org:443", None),
        ("exa mple.org:443", None),
        ("example.org/path:443", None),
        ("example.org\\@evil.example:443", None),
        ("127.1:443", None),
        ("0x7f000001:443", None),
        ("2130706433:443", None),
        ("[::1:443", None),
        (":443", None),
        ("", None),
    ],
)
def test_authorities(text: str, expected: Authority | None) -> None:
    if expected is None:
        with pytest.raises(HeadError):
            parse_authority(text)
    else:
        assert parse_authority(text) == parse_authority(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Example.org/a?b#c", "http://example.org/a?b"),
        ("HTTP://example.org:80", "http://example.org/"),
        ("http://example.org:8080?x", "http://example.org:8080/?x"),
        ("http://[::1]/", "http://[::1]/"),
        ("https://example.org/", None),
        ("ftp://example.org/", None),
        ("/path", None),
        ("*", None),
        ("http:example.org", None),
        ("http://", None),
        ("http://[", None),
        ("http://user:pass%20word@example.org:81/a@b", "http://example.org:81/a@b"),
        ("http://@example.org/", "http://example.org/"),
        ("http://a@b@example.org/", None),
        ("http://good.example\\@evil.example/", None),
    ],
)
def test_targets(text: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(HeadError):
            parse_target(text)
    else:
        assert parse_target(text).url == url


@given(st.text(max_size=60))
def test_targets_raise_head_errors_only(text: str) -> None:
    for parse in (parse_authority, parse_target):
        with contextlib.suppress(HeadError):
            parse(text)


def test_a_forwarded_head_has_one_host_and_no_fields_for_the_proxy() -> None:
    data = (
        b"GET http://a/ HTTP/1.1\r\nHost: lie.example\r\nProxy-Connection: keep-alive\r\nAccept: */*\r\n"
        b"Proxy-Authorization: Basic eA==\r\n\r\n"
    )
    head = read_whole(data)
    assert isinstance(head, RequestHead)
    forwarded = forward_head(head, "http://a/", "a")
    assert forwarded == b"GET http://a/ HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"


@pytest.mark.parametrize(
    ("userinfo", "fields", "expected"),
    [
        (None, b"", b""),
        ("ana:a%20b", b"", b"Authorization: Basic YW5hOmEgYg==\r\n"),
        ("ana", b"", b"Authorization: Basic YW5hOg==\r\n"),
        ("ana:a%20b", b"Authorization: Bearer x\r\n", b"Authorization: Bearer x\r\n"),
    ],
)
def test_the_password_of_a_url_becomes_a_field(userinfo: str | None, fields: bytes, expected: bytes) -> None:
    """As a browser sends them. A field that the client has written itself comes first."""
    head = read_whole(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert isinstance(head, RequestHead)
    assert forward_head(head, "/", "a", userinfo) == b"GET / HTTP/1.1\r\nHost: a\r\n" + expected + b"\r\n"


@pytest.mark.parametrize(
    ("fields", "initiator"),
    [
        (b"Referer: https://News.example/a\r\nOrigin: https://other.example\r\n", "news.example"),
        (b"Origin: https://news.example\r\n", "news.example"),
        (b"Referer: nonsense\r\n", ""),
        (b"", ""),
    ],
)
def test_the_page_that_makes_a_request_is_told_by_its_fields(fields: bytes, initiator: str) -> None:
    head = read_whole(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert isinstance(head, RequestHead)
    assert head.initiator == initiator


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (b"HTTP/1.1", 200, b"OK")),
        (b"HTTP/1.0 404 Not here", (b"HTTP/1.0", 404, b"Not here")),
        (b"HTTP/1.1 204 ", (b"HTTP/1.1", 204, b"")),
        (b"HTTP/1.1 20", None),
        (b"HTTP/2 200 OK", None),
        (b"ICY 200 OK", None),
        (b"", None),
    ],
)
def test_status_lines(line: bytes, expected: tuple[bytes, int, bytes] | None) -> None:
    assert parse_status_line(line) == expected
