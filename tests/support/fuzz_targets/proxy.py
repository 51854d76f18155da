"""The proxy's clients: their requests, TLS, and what they send to its own pages."""

from __future__ import annotations

import contextlib
import struct
from urllib.parse import urlsplit

from fuzz_targets.target import STREAM, FuzzTarget, Shape, pieces
from hedgerow.blocklists.formats.sealed import url_expressions
from hedgerow.blocklists.names import parse_host, parse_url, split_url
from hedgerow.blocklists.patterns import compile_pattern
from hedgerow.policies.model import SafeSearch
from hedgerow.policies.safe_search import SearchEngines, apply_safe_search
from hedgerow.policies.targets import comparable_path, compile_path
from hedgerow.policies.youtube import access_to
from hedgerow.proxy import http_head, page_forms
from hedgerow.proxy.client_hello import ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.handover import HandoverHeader, encode_handover_header, parse_handover_header
from hedgerow.proxy.http_head import ReceiveBuffer
from hedgerow.proxy.inspection.engine.bodies import BodyError, body_reader
from hedgerow.proxy.inspection.engine.heads import read_response_head, request_of
from hedgerow.proxy.inspection.engine.messages import is_too_long
from hedgerow.proxy.inspection.engine.plain_messages import parse_plain_path, parse_plain_response
from hedgerow.proxy.pages.translations import choose_language
from hedgerow.proxy.sign_in import parse_basic
from hedgerow.proxy_protocol import ProxyHeaderReader, ProxyProtocolError


def http_request(data: bytes) -> None:
    reader = http_head.HeadReader()
    head = next((found for piece in pieces(data) if (found := reader.feed(piece)) is not None), None)
    if head is not None:
        target = http_head.parse_target(head.target)
        sent = http_head.forward_head(head, target.path, str(target.authority))
        assert sent.endswith(b"\r\n\r\n")
        assert b"\r\n\r\n" not in sent[:-4]


def client_hello(data: bytes) -> None:
    reader = HelloReader()
    for piece in pieces(data):
        looks_like_tls(piece)
        if (hello := reader.feed(piece)) is not None:
            assert isinstance(hello, ClientHello)
            return


def block_page_forms(data: bytes) -> None:
    fields = page_forms.form_fields(data)
    url, note = page_forms.parse_ask_form(fields, "a.example", "https://a.example/")
    assert parse_host(urlsplit(url).hostname or "") == "a.example"
    assert note.isprintable()
    page_forms.accepts_ticket(b"k" * 32, fields.get("ticket", ""), "a.example", "mia", 0.0)  # type: ignore[arg-type]
    text = data.decode("latin-1")
    page_forms.parse_poll_count(text)
    choose_language(text)
    parse_basic(text)


def _hello(name: str) -> bytes:
    host = name.encode()
    server_name = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extensions = struct.pack("!HH", 0, len(server_name)) + server_name + b"\x00\x10\x00\x05\x00\x03\x02h2"
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + b"\x00\x02\x13\x01"
        + b"\x01\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def load_balancer_header(data: bytes) -> None:
    reader = ProxyHeaderReader()
    for piece in pieces(data):
        if reader.feed(piece) is not None:
            return


def url(data: bytes) -> None:
    """Read a URL as the rules of policies and lists do, those about searches, YouTube and sealed lists among them."""
    text = data[: http_head.MAX_TARGET].decode("latin-1")
    canonical = parse_url(text)
    assert canonical is None or parse_url(canonical) == canonical
    split_url(text)
    for pattern in _PATTERNS:
        pattern(comparable_path(text))
    for rule in _RULES:
        rule.search(text)
    url_expressions(text)
    with contextlib.suppress(ValueError):  # not a URL
        access_to(text, ("@name", "video:abcdefghij1"))
    if canonical is not None:
        for engine in SearchEngines.load().by_id.values():
            apply_safe_search(engine, SafeSearch.STRICT, canonical, (), without_ai=True)


def inspected_heads(data: bytes) -> None:
    """Read a head as a client's and as an origin's, plain or not."""
    is_too_long(data)
    parse_plain_path(data)
    parse_plain_response(data)
    with contextlib.suppress(http_head.HeadError):
        request_of(http_head.parse_head(data.decode("latin-1"), has_raw_target=True))
    with contextlib.suppress(ValueError):
        read_response_head(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")


def chunked_body(data: bytes) -> None:
    reader, buffer = body_reader(None), ReceiveBuffer()
    for piece in pieces(data):
        buffer.data += piece
        while reader.read(buffer):
            pass
        if reader.is_complete:
            return


def handover_line(data: bytes) -> None:
    parse_handover_header(b"k" * 32, data, 0.0)


_RULES = tuple(compile_pattern(rule) for rule in ("*video*watch*x", "||a.example^*a*b|", "*a*^b"))
_PATTERNS = tuple(compile_path(path) for path in ("/*video*watch*", "/*a*b", "/shorts", "/a/*/b"))

TARGETS: dict[str, FuzzTarget] = {
    "http-request": FuzzTarget(
        http_request,
        (STREAM + b"GET http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example\r\nTE: x\r\nContent-Length: 0\r\n\r\n",),
        (http_head.HeadError,),
        grown=(Shape(b"\0GET /", b"a", b""),),
    ),
    "proxy-header": FuzzTarget(
        load_balancer_header,
        (STREAM + b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\1\xd4\x31\0\x35" + b"rest",),
        (ProxyProtocolError,),
    ),
    "url": FuzzTarget(
        url,
        (
            b"https://WWW.a.example:8443/a/../b//c;d%2fe?q=cats&safe=off&v=abcdefghij1#top",
            b"http://www.youtube.com/watch?v=abcdefghij1",
        ),
        tokens=(b"video", b"watch", b"/", b"%25", b"25", b"..", b"&q=", b"\\", b"@"),
        grown=(
            Shape(b"http://a.example/", b"video", b""),
            Shape(b"http://a.example/%", b"25", b"41"),
            Shape(b"http://a.example/", b"a", b""),
        ),
    ),
    "inspected-heads": FuzzTarget(
        inspected_heads,
        (
            b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\nCookie: a=b; c=d\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\nConnection: x, close\r\n\r\nhello",
        ),
        grown=(Shape(b"HTTP/1.1 200 OK\r\nA: b\r\n", b" c\r\n", b"\r\n"),),
    ),
    "chunked-body": FuzzTarget(
        chunked_body,
        (STREAM + b"5;a=b\r\nhello\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n",),
        (BodyError,),
        grown=(
            Shape(b"\3", b"1\r\na\r\n", b"0\r\n\r\n"),
            Shape(STREAM, b"1;\x80\r\na\r\n", b""),
            Shape(STREAM + b"1;", b"a", b""),
            Shape(STREAM + b"0\r\n", b"a:b\r\n", b"\r\n"),
            Shape(STREAM + b"0\r\na:", b"b", b"\r\n\r\n"),
        ),
    ),
    "handover": FuzzTarget(
        handover_line, (encode_handover_header(b"k" * 32, HandoverHeader("192.0.2.7", None), 0.0)[:-2],)
    ),
    "client-hello": FuzzTarget(client_hello, (STREAM + _hello("www.a.example"),), (HelloError,)),
    "block-page-forms": FuzzTarget(
        block_page_forms,
        (
            b"url=https%3A%2F%2Fa.example%2Fx&note=please&ticket=1790000000-abc&code=1234&times=3",
            b"Basic bWlhOnB3",
            b"pt-BR,pt;q=0.9,*;q=0.1",
        ),
    ),
}
