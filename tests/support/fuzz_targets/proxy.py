"""The proxy's clients: their requests, TLS, and what they send to its own pages."""

from __future__ import annotations

import struct
from urllib.parse import urlsplit

from fuzz_targets.target import STREAM, FuzzTarget, Shape, pieces
from hedgerow.blocklists.names import parse_host
from hedgerow.proxy import http_head, page_forms
from hedgerow.proxy.client_hello import ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.pages.translations import choose_language
from hedgerow.proxy.sign_in import parse_basic


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
    url, note = page_forms.parse_ask_form(data, "a.example", "https://a.example/")
    assert parse_host(urlsplit(url).hostname or "") == "a.example"
    assert note.isprintable()
    page_forms.accepts_ticket(b"k" * 32, page_forms.read_ticket(data), "a.example", "mia", 0.0)  # type: ignore[arg-type]
    page_forms.parse_code(data)
    text = data.decode("latin-1")
    page_forms.parse_poll_count(text)
    choose_language(text)
    parse_basic(text)


def _hello(name: str) -> bytes:
    host = name.encode()
    server_name = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extensions = struct.pack("!HH", 0, len(server_name)) + server_name + b"\x00\x10\x00\x05\x00\x03\x02h2"
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\x00\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


TARGETS: dict[str, FuzzTarget] = {
    "http-request": FuzzTarget(
        http_request,
        (STREAM + b"GET http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example\r\nTE: x\r\nContent-Length: 0\r\n\r\n",),
        (http_head.HeadError,),
        grown=(Shape(b"\0GET /", b"a", b""),),
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
