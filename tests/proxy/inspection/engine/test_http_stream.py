"""Streamed messages reach a client one by one, although kinds of files are blocked for it.

The origin sends its second message only when the first has arrived, and the inspector may hold a response for an hour.
"""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from proxy_stand import Stand, proxy_stand
from small_internet.clients import curl
from small_internet.whole import SmallInternet

INSPECTED = "www.school.example"
HOSTS = (INSPECTED, "h2.example")
ADULT = "127.0.0.13"
CHILD_WITH_CA = "127.0.0.11"
FILES = "[executables, archives, torrents, macros]"

STREAMS = {
    "application/grpc": "\0\0\0\0\5hello",
    "application/grpc-web+proto": "\0\0\0\0\5hello",
    "application/x-ndjson": '{"number": 1}\n',
    "application/json": '[{"number": 1},',
    "application/problem+json": "{",
    "text/event-stream": "data: 1\n\n",
    "text/plain; charset=utf-8": "one line",
    "text/css": "a {}",
    "image/gif": "GIF89a",
    "video/mp4": "\0\0\0\x18ftypmp42",
    "audio/mpeg": "ID3\4",
    "application/octet-stream": "\0\0\0\5hello",
    "application/xml": "something",
}


@pytest.fixture(scope="module")
def patient(net: SmallInternet, policy: str) -> Iterator[Stand]:
    held = policy.replace("    age: 9\n", f"    age: 9\n    page_scan: off\n    block_files: {FILES}\n")
    with proxy_stand(net, held, holds=(3600.0, 3600.0, 3600.0)) as stand:
        yield stand


@contextmanager
def opened(stand: Stand, net: SmallInternet, host: str, alpn: str) -> Iterator[ssl.SSLSocket]:
    """An inspected connection."""
    target = f"{host}:{net.origins.https_port}".encode()
    with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
        client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.set_alpn_protocols([alpn])
        with context.wrap_socket(client, server_hostname=host) as secured:
            secured.settimeout(20)
            yield secured


def body_of(client: ssl.SSLSocket, host: str, path: str, resource: str = "") -> Iterator[bytes]:
    """The bytes of the answer's body, and over HTTP/1 of its head, as they come.

    `resource` is what a browser over HTTP/1 wants it for.
    """
    if client.selected_alpn_protocol() == "h2":
        return _http2_body(client, host, path)
    return _http1_body(client, host, path, f"Sec-Fetch-Dest: {resource}\r\n" if resource else "")


def _http1_body(client: ssl.SSLSocket, host: str, path: str, more: str) -> Iterator[bytes]:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    while piece := client.recv(65536):
        yield piece


def _http2_body(client: ssl.SSLSocket, host: str, path: str) -> Iterator[bytes]:
    connection = H2Connection(H2Configuration())
    connection.initiate_connection()
    connection.send_headers(
        1, [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)], end_stream=True
    )
    while True:
        client.sendall(connection.data_to_send())
        yield from (
            event.data for event in connection.receive_data(client.recv(65536)) if isinstance(event, DataReceived)
        )


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_first_message_arrives_before_the_second_is_sent(
    patient: Stand, net: SmallInternet, host: str, version: str
) -> None:
    for kind, first in STREAMS.items():
        check_streams(patient, net, host, version, kind, first)


def check_streams(
    stand: Stand, net: SmallInternet, host: str, version: str, kind: str, first: str, resource: str = ""
) -> None:
    """Get a body whose second part is sent once its first has arrived."""
    talk = secrets.token_hex(8)
    path = f"/talk/{talk}?" + urlencode({"type": kind, "first": first}, quote_via=quote, encoding="latin-1")
    with opened(stand, net, host, version) as client:
        pieces, seen = body_of(client, host, path, resource), b""
        while first.encode("latin-1") not in seen:
            seen += next(pieces)
        assert b"second" not in seen, kind
        assert curl(net.url("news.example", f"/go-on/{talk}", "http"), proxy=stand.proxy, source=ADULT).status == 204
        while b"second" not in seen:
            seen += next(pieces)


@pytest.mark.parametrize(
    ("limit", "holds", "resource"),
    [(100, (3600.0, 3600.0, 0.25), "empty"), (160, (3600.0, 1.0, 3600.0), "document")],
    ids=["what a script fetches, for a child", "a page, for a teenager"],
)
def test_a_page_arrives_as_it_is_written_where_the_profile_allows(
    net: SmallInternet, policy: str, limit: int, holds: tuple[float, float, float], resource: str
) -> None:
    scanned = policy.replace("    age: 9\n", f"    age: 9\n    page_scan: {{limit: {limit}}}\n")
    with proxy_stand(net, scanned, holds=holds) as stand:
        check_streams(stand, net, INSPECTED, "http/1.1", "text/html", "<p>The answer of a chat", resource)


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
def test_a_program_that_comes_in_two_parts_is_still_held(patient: Stand, net: SmallInternet, version: str) -> None:
    talk = secrets.token_hex(8)
    path = f"/talk/{talk}?type=image/png&first=MZ%90%00%03" + "%00" * 40
    assert curl(net.url("news.example", f"/go-on/{talk}", "http"), proxy=patient.proxy, source=ADULT).status == 204
    with opened(patient, net, INSPECTED, version) as client:
        pieces, seen = body_of(client, INSPECTED, path), b""
        while b"second" not in seen and b"</html>" not in seen:
            seen += next(pieces)
    assert b"second" not in seen
