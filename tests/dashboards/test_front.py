"""No device keeps the others from the pages: neither by many connections nor by slow ones."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI, Request
from web_server import TOKEN, Web

from hedgerow.dashboards.server import MAX_CONNECTIONS_PER_ADDRESS, web_server

CHILD, PARENT = "127.0.0.9", "127.0.0.8"


@contextlib.contextmanager
def connected(port: int, said: bytes, source: str = CHILD) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 30, (source, 0)) as client:
        with contextlib.suppress(OSError):
            client.sendall(said)
        yield client


def is_ended(client: socket.socket) -> bool:
    try:
        return not client.recv(1)
    except ConnectionError:
        return True


def test_one_device_has_its_share_of_the_connections(web: Web) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(web.port, b"GET / HT")) for _ in range(300)]
        ended: set[socket.socket] = set()
        while len(ended) < len(held) - MAX_CONNECTIONS_PER_ADDRESS:
            readable, _, _ = select.select([each for each in held if each not in ended], [], [], 30)
            assert readable, f"{len(held) - len(ended)} are still open"
            ended |= {each for each in readable if is_ended(each)}
        with httpx.Client(base_url=web.url, transport=httpx.HTTPTransport(local_address=PARENT), trust_env=False) as parent:
            assert parent.get("/certificate").status_code in {200, 403}, "no sign of the pages being full"
        assert not select.select([each for each in held if each not in ended], [], [], 0)[0], "those within the share are left alone"


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    """The port of a server that waits for a request for a second."""
    app = FastAPI()

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    server = web_server(app, request_timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("said", [HEAD[:9], HEAD, HEAD + b"12"], ids=["a-head-that-stops", "no-body", "half-a-body"])
def test_a_request_that_does_not_come_is_waited_for_no_longer(impatient: int, said: bytes) -> None:
    with connected(impatient, said) as client:
        assert is_ended(client)


def read_answer(client: socket.socket) -> bool:
    answer = b""
    while not answer.endswith(b"\r\n\r\n5"):
        answer += (more := client.recv(4096))
        if not more:
            return False
    return answer.startswith(b"HTTP/1.1 200")


def test_the_next_request_has_its_own_time(impatient: int) -> None:
    with connected(impatient, HEAD + b"12345") as client:
        assert read_answer(client)
        assert not select.select([client], [], [], 2.5)[0], "between two requests there is more time"
        client.sendall(HEAD + b"12345")
        assert read_answer(client)
        client.sendall(HEAD[:20])
        assert is_ended(client)


@pytest.mark.parametrize("path", ["/start/people", "/people/mia/nights", "/pause", "/api/v1/pause"])
def test_a_client_that_leaves_in_the_middle_of_its_form_is_no_trouble(web: Web, caplog: pytest.LogCaptureFixture, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\nContent-Length: 50\r\n"
    kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    with connected(web.port, f"{head}Content-Type: {kind}\r\n\r\n".encode(), "127.0.0.1") as client:
        assert b"100 Continue" in client.recv(1000)  # the form is being read
        client.sendall(b"minutes=")
    # The next one is answered after all that comes of the one that left.
    assert httpx.get(f"{web.url}/healthz", trust_env=False).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
