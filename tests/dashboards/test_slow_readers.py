"""Clients that do not read their responses: no route holds a connection to the journal for them, and nothing is missing
afterwards.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator

import httpx
from small_internet.running import wait_until
from sqlalchemy import Pool
from web_server import NOW, Web

from hedgerow.dashboards.control import DeviceView
from hedgerow.journal.batch import Batch
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

ROWS = 8000
PARAMETERS = {
    "person": "mia",
    "name": "mia",
    "device": "mia-tablet",
    "level": "@",
    "path": "pages.css",
    "file": "hedgerow-ca.pem",
}
QUERIES = {"/api/v1/kept": "?name=mia", "/api/v1/decisions/export": "?format=csv"}


def write_much(web: Web) -> None:
    """Write ten times as many octets about a device as the system's buffers take."""
    row = (
        DeviceId("mia-tablet"),
        "mia",
        "child-8-12",
        RequestKind.HTTP,
        Verdict.BLOCK,
        Reason.CATEGORY,
        "games",
        "games.example",
    )
    Batch([Observation(NOW, *row, f"https://games.example/{number:01000d}") for number in range(ROWS)]).write(
        web.engine
    )


@contextlib.contextmanager
def unread(web: Web, path: str) -> Iterator[socket.socket]:
    """Ask for a page over a connection with small buffers, and read none of the response."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(30)
        client.connect(("127.0.0.1", web.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n".encode())
        yield client


def test_no_route_holds_a_connection_to_the_journal_while_its_client_does_not_read(web: Web) -> None:
    write_much(web)
    web.control.devices["127.0.0.1"] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    paths = sorted(path for method, path in web.routes if method == "GET")
    filled = [
        re.sub(r"{(\w+)(:\w+)?}", lambda match: PARAMETERS.get(match[1], "1"), path) + QUERIES.get(path, "")
        for path in paths
    ]
    with contextlib.ExitStack() as stack:
        clients = {path: stack.enter_context(unread(web, path)) for path in filled}
        for path, client in clients.items():
            assert client.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 "), path
        pool = web.engine.engine.pool
        wait_until(lambda: checked_out(pool) == 0, 20, f"{checked_out(pool)} connections are still in use")
        for path in (
            "/device/kept",
            "/people/mia/kept",
            "/api/v1/kept?name=mia",
            "/api/v1/decisions/export?format=csv",
        ):
            assert clients[path].recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200", path


def checked_out(pool: Pool) -> int:
    return pool.checkedout()  # type: ignore[attr-defined]


def test_an_export_that_is_read_late_has_every_row_once(web: Web) -> None:
    """Also those that have the same time. What is written after the beginning of the export is not in it."""
    write_much(web)
    with httpx.stream("GET", f"{web.url}/people/mia/kept", trust_env=False, timeout=30, verify=False) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines))
        write_much(web)
        kept = [first, *map(json.loads, lines)]
    decisions = [row["url"] for row in kept if row["kept"] == "decisions"]
    assert len(decisions) == len(set(decisions)) == ROWS
