"""The fast path: decisions, observations, requests and responses are the same as through mitmproxy's layers."""

from __future__ import annotations

import base64
import itertools
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.connection import Client, Server
from mitmproxy.net.http.http1 import expected_http_body_size
from proxy_stand import Stand
from small_internet.whole import SmallInternet

from hedgerow.proxy.http_head import MAX_FIELDS, HeadError, HeadReader, ReceiveBuffer
from hedgerow.proxy.inspection.engine.flows import HeaderFields, HttpRequest
from hedgerow.proxy.inspection.engine.heads import read_response_head
from hedgerow.proxy.inspection.engine.plain_messages import (
    PlainHead,
    PlainRequest,
    head_after_path,
    parse_plain_path,
    parse_plain_request,
    parse_plain_response,
    request_bytes,
)
from hedgerow.proxy.pages.block_page import ASK_PATH

CHILD_WITH_CA = "127.0.0.11"
HOST = "www.school.example"
PLAIN = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def inside_tls(stand: Stand, net: SmallInternet) -> Iterator[ssl.SSLSocket]:
    sock = socket.create_connection(stand.proxy, 10, source_address=(CHILD_WITH_CA, 0))
    sock.sendall(f"CONNECT {HOST}:{net.origins.https_port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert b" 200 " in sock.recv(999)
    with ssl.create_default_context(cafile=str(stand.ca)).wrap_socket(sock, server_hostname=HOST) as secure:
        yield secure


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}", *fields, "", ""]).encode()


def answer_to(sock: ssl.SSLSocket, *pieces: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to a request that is sent in `pieces`, each a TLS record of its own."""
    for piece in pieces:
        sock.sendall(piece)
    return next_answer(sock)


def next_answer(sock: ssl.SSLSocket) -> tuple[bytes, bytes]:
    reader = _Recorded(sock)
    answer = HTTPResponse(reader)  # type: ignore[arg-type]
    answer.begin()
    body = answer.read()
    return bytes(reader.taken).partition(b"\r\n\r\n")[0], body


class _Recorded:
    """A socket for the standard library's client; reads no byte more than the answer has, and keeps what it was."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self.taken = bytearray()

    def makefile(self, _mode: str) -> _Recorded:
        return self

    def read(self, size: int) -> bytes:
        begun = len(self.taken)
        while len(self.taken) < begun + size and (piece := self._sock.recv(begun + size - len(self.taken))):
            self.taken += piece
        return bytes(self.taken[begun:])

    def readline(self, limit: int) -> bytes:
        begun = len(self.taken)
        while (
            len(self.taken) < begun + limit and not self.taken.endswith(b"\n", begun) and (piece := self._sock.recv(1))
        ):
            self.taken += piece
        return bytes(self.taken[begun:])

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_the_block_page_is_the_same_on_every_way(stand: Stand, net: SmallInternet) -> None:
    """First the short one; then through the layers, which read a head that comes in pieces; then the short one beside
    the layers.
    """
    blocked = get("/secret/plan", "Accept: text/html", "Accept-Language: de")
    with inside_tls(stand, net) as sock:
        answers = [
            answer_to(sock, *pieces) for pieces in ((blocked,), (blocked[:9], blocked[9:]), (blocked,), (blocked,))
        ]
    assert answers[0][0].startswith(b"HTTP/1.1 403 ")
    assert b"/secret/plan" in answers[0][1]
    # the ticket tells the second
    assert len({(head, re.sub(rb"[0-9]+-[0-9a-f]{64}", b"", body)) for head, body in answers}) == 1
    reported = stand.wait_for(lambda found: len(found) == 4)
    assert len({(each.device, each.request, each.decision) for each in reported}) == 1
    assert net.origins.connections() == []


def test_ways_may_alternate_on_one_connection(stand: Stand, net: SmallInternet) -> None:
    """Each request reaches its origin once, is told of once and gets its own answer, whatever came before it."""
    upload = b"POST /up HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\nhello" % HOST.encode()
    turns: list[tuple[bytes, int, str]] = [
        (get("/one"), 200, "/one"),
        (get("/two?x=1"), 200, "/two?x=1"),
        (get("/secret"), 403, "/secret"),
        (get("/chunked/3000"), 200, ""),
        (get("/secret"), 403, "/secret"),
        (get("/three"), 200, "/three"),
        (upload, 200, "/up"),
        (get(ASK_PATH), 405, ""),
        (get("/four"), 200, "/four"),
    ]
    with inside_tls(stand, net) as sock:
        for words, status, text in turns:
            head, body = answer_to(sock, words)
            assert int(head.split(b" ")[1]) == status, words
            assert text.encode() in body
    passed = [re.split(" ", words.decode())[1] for words, status, _ in turns if status == 200]
    assert [target for _, target in net.origins.requests()] == passed
    reported = stand.wait_for(lambda found: len(found) >= len(turns) - 1)
    assert [each.request.url for each in reported if each.request] == [
        net.url(HOST, words.decode().split(" ")[1]) for words, status, _ in turns if status != 405
    ]


def test_who_does_not_wait_for_an_answer_gets_all_in_turn(stand: Stand, net: SmallInternet) -> None:
    """Two at once, and one that comes while the answer to another is still to come."""
    with inside_tls(stand, net) as sock:
        sock.sendall(get("/one") + get("/secret"))
        assert [next_answer(sock)[0].split(b" ")[1] for _ in range(2)] == [b"200", b"403"]
    with inside_tls(stand, net) as sock:
        sock.sendall(get("/slow/0.3"))
        sock.sendall(get("/secret"))
        assert [next_answer(sock)[0].split(b" ")[1] for _ in range(2)] == [b"200", b"403"]


def test_a_client_may_close_after_its_answer(stand: Stand, net: SmallInternet) -> None:
    for path, status in (("/one", b"200"), ("/secret", b"403")):
        with inside_tls(stand, net) as sock:
            head, _ = answer_to(sock, get(path, "Connection: close"))
            assert head.split(b" ")[1] == status
            assert sock.recv(1) == b""


# Requests with the head of an earlier one.

BROWSER = (
    "User-Agent: Mozilla/5.0",
    "Accept: image/avif,*/*;q=0.8",
    "Sec-Fetch-Mode: no-cors",
    "Sec-Fetch-Dest: image",
    f"Referer: https://{HOST}/page",
    "Accept-Encoding: gzip, deflate, br, zstd, sdch",
    "Cookie: a=b; c=d",
    "Connection: keep-alive",
)
HEADS: list[tuple[str, ...]] = [
    (),
    ("Accept: text/html", "Accept-Language: de", "Sec-Fetch-Dest: document"),
    BROWSER,
    ("Prefer: respond-async", "TE: trailers, deflate", "Max-Forwards: 3", "Keep-Alive: timeout=5"),
    ("Accept: application/json", "X-Requested-With: XMLHttpRequest", "Origin: https://other.example"),
]
ADULT_PAGE = base64.urlsafe_b64encode(b'<meta name="rating" content="adult"><title>x</title>').decode()
TARGETS = [
    "/a",
    "/a?x=1&y=%20",
    "/secret/plan",
    "/%73ecret",
    f"/html/{ADULT_PAGE}",
    "/status/404",
    "/status/204",
    "/redirect?to=/b",
    "/setup.exe",
    "/a?x=1&hedgerow-help=seen",
    ASK_PATH,
]


@pytest.mark.parametrize("fields", HEADS)
def test_judged_by_its_path_alone_a_request_is_served_the_same(
    stand: Stand, net: SmallInternet, policy: str, fields: tuple[str, ...]
) -> None:
    """First of all; through the layers, which read a head that comes in pieces; and after others with the same head, on
    their connection and on another one.
    """
    found: dict[str, list[object]] = {"first": [], "layers": [], "repeated": [], "elsewhere": []}
    known = set[int]()

    def note_asked() -> list[object]:
        asked = [
            each for connection in net.origins.connections() for each in connection.requests if id(each) not in known
        ]
        known.update(map(id, asked))
        return list(asked)

    def serve(way: str, sock: ssl.SSLSocket, *pieces: bytes) -> None:
        head, body = answer_to(sock, *pieces)
        found[way].append((head, re.sub(rb'name="ticket" value="[^"]*"', b"", body), stand.reported(), note_asked()))

    with inside_tls(stand, net) as repeating:
        for target in TARGETS:
            request = get(target, *fields)
            stand.swap(policy)  # no head is known
            with inside_tls(stand, net) as sock:
                serve("first", sock, request)
            with inside_tls(stand, net) as sock:
                serve("layers", sock, request[:9], request[9:])
            for _ in range(2):
                answer_to(repeating, get("/warm", *fields))
            note_asked()
            stand.reported()
            serve("repeated", repeating, request)
            with inside_tls(stand, net) as sock:
                serve("elsewhere", sock, request)
    for way in ("repeated", "elsewhere", "layers"):
        for number, target in enumerate(TARGETS):
            assert found[way][number] == found["first"][number], (way, target)


def test_another_policy_holds_for_a_head_that_was_judged_before(stand: Stand, net: SmallInternet, policy: str) -> None:
    def status(sock: ssl.SSLSocket) -> bytes:
        return answer_to(sock, get("/a", *BROWSER))[0].split(b" ")[1]

    with inside_tls(stand, net) as sock:
        assert [status(sock) for _ in range(3)] == [b"200"] * 3
        stand.swap(policy.replace(f'"{HOST}/secret"', f'"{HOST}/a"'))
        try:
            assert status(sock) == b"403"
        finally:
            stand.swap(policy)
        assert [status(sock) for _ in range(3)] == [b"200"] * 3


# What is plain.


def client() -> Client:
    return Client(peername=("192.0.2.7", 1), sockname=("", 0), tls=True)


def server() -> Server:
    return Server(address=("a.example", 443), tls=True)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN + PLAIN,
        PLAIN[:-1],
        b"\r\n" + PLAIN,
        b"GET http://a.example/a HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: a.example\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a\t HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /a  HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /a/..%2fb HTTP/1.1\r\nHost: a.example\r\n\r\n",
        *(
            b"GET /a HTTP/1.1\r\nHost: a.example\r\n" + field + b"\r\n\r\n"
            for field in (
                b"Content-Length: 0",
                b"Transfer-Encoding: chunked",
                b"Upgrade: websocket",
                b"Connection: upgrade",
                b"Expect: 100-continue",
                b"Authorization: NTLM TlRMTVNT",
                b"X: a\r\n b",
                b"X: a\nY: b",
                b"X: a\x00",
                b"X : a",
                b"X",
                b": x",
                b"Host: b.example",
                b"Connection: close, x",
            )
        ),
    ],
)
def test_what_is_no_plain_request(data: bytes) -> None:
    assert parse_plain_request(PLAIN, client(), server()) is not None
    assert parse_plain_request(data, client(), server()) is None


_PUT = st.binary(max_size=4) | st.sampled_from([b"\r\n", b"\n", b":", b" ", b"\t", b"\r\n "])


@settings(max_examples=500)
@given(st.integers(0, len(PLAIN)), st.integers(0, 3), _PUT)
def test_a_plain_request_is_one_for_the_strict_reader_too(place: int, length: int, put: bytes) -> None:
    """Two readers that share no code find the same in it, or this one finds nothing."""
    data = PLAIN[:place] + put + PLAIN[place + length :]
    flow = parse_plain_request(data, client(), server())
    if flow is None:
        return
    reader = HeadReader()
    try:
        head = reader.feed(data)
    except HeadError:
        pytest.fail(f"the strict reader refuses {data!r}")
    assert head is not None
    assert reader.rest == b""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.fields]
    assert (head.method, head.target.encode(), fields) == (
        "GET",
        flow.request.data.path,
        list(flow.request.headers.fields),
    )


@given(st.text("/a.%2eEfF\\\\?&=é \t", max_size=12))
def test_a_request_with_a_known_head_is_what_its_parser_makes_of_it(path: str) -> None:
    data = PLAIN.replace(b"/a", b"/" + path.encode())
    flow, found = parse_plain_request(data, client(), server()), parse_plain_path(data)
    assert head_after_path(data) == head_after_path(PLAIN)
    assert (flow is None) == (found is None)
    if flow is None or found is None:
        return
    first = parse_plain_request(PLAIN, flow.client_conn, flow.server_conn)
    assert first is not None
    assert isinstance(first.request, PlainRequest)
    again = PlainHead(first.request).flow(found, first.client_conn, first.server_conn)
    assert request_bytes(again.request) == request_bytes(flow.request) == data
    again.request.timestamp_start = flow.request.timestamp_start
    assert again.request.data == flow.request.data


@pytest.mark.parametrize(
    "data",
    [
        ANSWER + b"x",
        ANSWER[:-1],
        ANSWER[:20],
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + b"a:b\r\n" * MAX_FIELDS + b"\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        *(
            b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\nhello"
            for field in (
                b"Transfer-Encoding: chunked",
                b"Content-Length: 5\r\nContent-Length: 6",
                b"Content-Length: +5",
                b"Content-Length: 5\r\nX: a\r\n b",
                b"Content-Length: 5\r\nConnection: close",
                b"Content-Length: 5\r\nTransfer-Encoding: chunked",
                b"Content-Length : 5",
            )
        ),
    ],
)
def test_what_is_no_plain_answer(data: bytes) -> None:
    assert parse_plain_response(ANSWER) is not None
    assert parse_plain_response(data) is None


def test_a_plain_response_is_one_for_the_reader_of_all_responses_too() -> None:
    """The fast path takes a response for what the layers take it for, or leaves it to them."""
    answer, found = ANSWER.replace(b"\r\n\r\n", b"\r\nX: ab\r\n\r\n"), 0
    pieces = [*(bytes([octet]) for octet in range(256)), b"\r\n", b"\r\n ", b" \t", b"\r\n\r\n"]
    for place, length, put in itertools.product(range(len(answer)), range(3), pieces):
        data = answer[:place] + put + answer[place + length :]
        plain = parse_plain_response(data)
        if plain is None:
            continue
        found += 1
        buffer = ReceiveBuffer(bytearray(data))
        response = read_response_head(buffer.take(buffer.find_head()))
        size = expected_http_body_size(HttpRequest(method=b"GET", path=b"/", headers=HeaderFields([])), response)
        response.data.content = buffer.take(size or 0)
        assert (not buffer, plain.data) == (True, response.data), data
    assert found > 1000
