"""Limits per device, deadlines of requests, the Unix socket of the command line, and the check of uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server
from web_server import TOKEN, Web
from web_server.serving import serving

from hedgerow.dashboards.accounts import LOCAL
from hedgerow.dashboards.deadlines import REQUEST_TIMEOUT_S
from hedgerow.dashboards.scopes import Role
from hedgerow.dashboards.server import is_allowed_user, web_server
from hedgerow.dashboards.web_places import MAX_CONNECTIONS_PER_CLIENT

CHILD, PARENT = "127.0.0.9", "127.0.0.8"
DEADLINE_S = 0.4
"""Time for a request to arrive at `short_deadline`. A busy machine needs much of it."""


@contextlib.contextmanager
def connected(port: int, data: bytes, source: str = CHILD) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 30, (source, 0)) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
        yield client


def is_closed(client: socket.socket) -> bool:
    try:
        return not client.recv(1)
    except ConnectionError:
        return True


def test_connections_per_device_are_limited(web: Web) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(web.port, b"GET / HT")) for _ in range(300)]
        waiting = set(held)
        while len(waiting) > MAX_CONNECTIONS_PER_CLIENT:
            ready = wait(waiting, 30)
            assert ready, f"{len(waiting)} are still open"
            waiting -= {each for each in waiting if each in ready and is_closed(each)}
        with httpx.Client(
            base_url=web.url,
            transport=httpx.HTTPTransport(local_address=PARENT, verify=False),
            trust_env=False,
            timeout=60,
        ) as parent:
            assert parent.get("/certificate").status_code in {200, 403}, "no sign of the pages being full"
        assert not wait(waiting, 0), "those within the share are left alone"


@pytest.fixture(scope="module")
def short_deadline() -> Iterator[int]:
    """Return the port of a server with a short request timeout."""
    app = FastAPI()

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    @app.post("/late")
    async def take_late(request: Request) -> int:
        await asyncio.sleep(2 * DEADLINE_S)
        return len(await request.body())

    server = web_server(app, request_timeout=DEADLINE_S)
    with socket.create_server(("127.0.0.1", 0)) as listener, serving(server, listener) as port:
        yield port


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("data", [HEAD[:9], HEAD, HEAD + b"12"], ids=["a-head-that-stops", "no-body", "half-a-body"])
def test_an_incomplete_request_is_aborted_at_its_deadline(short_deadline: int, data: bytes) -> None:
    with connected(short_deadline, data) as client:
        assert is_closed(client)


def read_answer(client: socket.socket) -> bool:
    answer = b""
    while not answer.endswith(b"\r\n\r\n5"):
        answer += (more := client.recv(4096))
        if not more:
            return False
    return answer.startswith(b"HTTP/1.1 200")


def test_the_next_request_has_its_own_deadline(short_deadline: int) -> None:
    with connected(short_deadline, HEAD + b"12345") as client:
        assert read_answer(client)
        assert not wait([client], 2.5 * DEADLINE_S), "between two requests there is more time"
        client.sendall(HEAD + b"12345")
        assert read_answer(client)
        client.sendall(HEAD[:20])
        assert is_closed(client)


def test_a_client_that_has_closed_its_side_gets_the_whole_page(web: Web) -> None:
    """As `nc -N` and some monitors do."""
    with connected(web.port, b"GET /device HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as client:
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.endswith(b"</html>")


def test_the_deadline_is_the_clients_and_not_the_applications(short_deadline: int) -> None:
    """Which is loaded with the first request: on a slow or busy machine that takes longer than a form may."""
    with connected(short_deadline, HEAD.replace(b"/", b"/late", 1) + b"12345") as client:
        assert read_answer(client)
    with connected(short_deadline, HEAD.replace(b"/", b"/late", 1) + b"12") as client:
        assert is_closed(client)


@contextlib.contextmanager
def sending_half_a_form(web: Web, path: str) -> Iterator[socket.socket]:
    """Wait until the server reads the body, and send some of it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nExpect:"
        " 100-continue\r\nContent-Length: 50\r\n"
    )
    kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    with connected(web.port, f"{head}Content-Type: {kind}\r\n\r\n".encode(), "127.0.0.1") as client:
        assert b"100 Continue" in client.recv(1000)
        client.sendall(b"minutes=")
        yield client


@pytest.mark.parametrize("path", ["/start/people", "/people/mia/nights", "/pause", "/api/v1/pause"])
def test_a_client_that_disconnects_during_its_form_causes_no_error(
    web: Web, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with sending_half_a_form(web, path):
        pass
    # The next one is answered after all that comes of the one that left.
    assert httpx.get(f"{web.url}/healthz", trust_env=False, verify=False, timeout=60).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("path", ["/pause", "/api/v1/pause"])
def test_a_client_that_closes_its_side_during_its_form_is_let_go_before_the_deadline(web: Web, path: str) -> None:
    with sending_half_a_form(web, path) as client:
        client.settimeout(REQUEST_TIMEOUT_S / 2)
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)


ASK = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    try:
        client.sendall(b"GET /api/v1/accounts HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        print(client.recv(100).decode())
    except ConnectionError:
        pass
"""
NOBODY = 65534


def socket_path(web: Web) -> Path:
    return web.policy_path.with_name("control.sock")


def test_a_request_over_the_unix_socket_has_every_scope(new_web: Web) -> None:
    web = new_web
    asyncio.run(web.accounts.create("ana", Role.ADMIN, "four words that fit"))
    with httpx.Client(
        base_url="http://localhost",
        transport=httpx.HTTPTransport(uds=str(socket_path(web)), verify=False),
        timeout=60,
    ) as client:
        assert [row["name"] for row in client.get("/api/v1/accounts").json()] == ["ana"]
        assert client.post("/api/v1/pause", json={"everybody": True}).status_code == 201
        assert client.post("/api/v1/pause", content=b"x" * 70_000).status_code == 413
    # The same by TCP needs a password, whatever the client writes.
    for headers in ({}, {LOCAL: "True"}, {"hedgerow-local": "True"}):
        assert (
            httpx.get(
                f"{web.url}/api/v1/accounts", headers=headers, trust_env=False, verify=False, timeout=60
            ).status_code
            == 401
        )


def test_only_the_owner_can_connect(web: Web) -> None:
    assert stat.S_IMODE(socket_path(web).stat().st_mode) == 0o600
    assert [uid for uid in (0, os.geteuid(), NOBODY) if not is_allowed_user(uid)] == [NOBODY]


@pytest.mark.root
def test_another_user_is_refused_even_if_the_folder_is_open(web: Web) -> None:
    path = socket_path(web)
    path.chmod(0o666)
    for folder in path.parents:
        if folder != Path(tempfile.gettempdir()) and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(0o755)
    results = [
        subprocess.run(
            [sys.executable, "-I", "-c", ASK, str(path), str(uid)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for uid in (0, NOBODY)
    ]
    assert "200 OK" in results[0].stdout
    assert (results[1].stdout.strip(), results[1].stderr) == ("", "")


def test_the_unix_socket_works_when_tcp_connections_are_exhausted(web: Web) -> None:
    """The limit of TCP connections does not apply to the Unix socket."""
    idle = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(220)]
    try:
        for connection in idle:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        with httpx.Client(
            base_url="http://localhost",
            transport=httpx.HTTPTransport(uds=str(socket_path(web)), verify=False),
            timeout=60,
        ) as client:
            assert client.get("/api/v1/status").status_code == 200
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(("owner", "name"), [(Server, "capture_signals"), (H11Protocol, "resume_writing")])
def test_a_uvicorn_without_a_name_that_we_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(RuntimeError, match=f"{owner.__name__}.{name}"):
        web_server(FastAPI())
