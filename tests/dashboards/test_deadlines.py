"""Clients that do not read, or hardly read, lose their connection; those that read slowly keep it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from small_internet.authority import Authority, server_context
from small_internet.running import wait_until
from starlette.responses import Response, StreamingResponse
from web_server.serving import serving

from hedgerow.dashboards.deadlines import LEAST_READ, ReadingPace
from hedgerow.dashboards.server import web_server

SIZE = 16 << 20
READING_S = 0.6
"""Time in which a client has to read something."""


@contextlib.contextmanager
def serving_pages(tls: ssl.SSLContext | None) -> Iterator[int]:
    """A server whose clients have little time to read."""
    app = FastAPI()

    @app.get("/whole")
    async def whole() -> Response:
        return Response(b"." * SIZE)

    @app.get("/pieces")
    async def pieces() -> Response:
        return StreamingResponse(b"." * 65536 for _ in range(SIZE // 65536))

    @app.get("/small")
    async def small() -> Response:
        return Response(b"." * 20_000)

    server = web_server(app, tls=lambda: tls, reading_timeout=READING_S)
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(server, listener) as port:
        yield port


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    with serving_pages(None) as port:
        yield port


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving_pages(server_context(Authority(Path(tmp_path_factory.mktemp("tls"))).leaf("localhost"))) as port:
        yield port


@contextlib.contextmanager
def asking(port: int, path: str, times: int = 1, tls: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.bind(("127.0.0.9", 0))
        client.connect(("127.0.0.1", port))
        stream = client if tls is None else tls.wrap_socket(client)
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * times)
        with stream:
            yield stream


def wait_until_cut(client: socket.socket) -> None:
    """Wait until the server has closed a connection from which nothing is read."""
    wait_until(lambda: client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1, 30)


@pytest.mark.parametrize(
    ("path", "times"), [("/whole", 1), ("/pieces", 1), ("/small", 300)], ids=["whole", "pieces", "pipelined"]
)
def test_a_client_that_reads_nothing_is_cut_off(plain: int, path: str, times: int) -> None:
    with asking(plain, path, times) as client:
        wait_until_cut(client)


def test_a_client_that_reads_nothing_over_tls_is_cut_off(secure: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with asking(secure, "/pieces", tls=context) as client:
        wait_until_cut(client)


def test_a_client_that_reads_slowly_gets_everything(plain: int) -> None:
    """For longer than the deadline: what counts is that it goes on."""
    with asking(plain, "/pieces") as client:
        received, ends = 0, threading.Event()
        for _ in range(50):
            ends.wait(READING_S / 20)
            received += len(client.recv(20_000))
        while received < SIZE:
            received += len(data := client.recv(1 << 20))
            assert data


def test_taking_a_few_octets_is_not_reading() -> None:
    pace = ReadingPace(30.0)
    taken = [pace.is_too_slow(now, 50_000, now * LEAST_READ // 100) for now in range(0, 61, 5)]
    assert taken.index(True) == 6
    pace = ReadingPace(30.0)
    assert not any(pace.is_too_slow(now, 50_000, now * LEAST_READ // 20) for now in range(0, 3000, 5))
    assert not any(pace.is_too_slow(now, 50_000 * (now % 10), 0) for now in range(0, 3000, 5)), (
        "all was taken in between"
    )
