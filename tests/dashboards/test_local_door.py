"""The command line's Unix socket: it opens everything to our own user and to root, and nothing to others."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from web_server import Web

from hedgerow.dashboards.accounts import Role
from hedgerow.dashboards.guard import LOCAL
from hedgerow.dashboards.server import is_allowed_user

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


def door_of(web: Web) -> Path:
    return web.policy_path.with_name("control.sock")


def test_a_request_over_the_socket_is_the_admins_without_a_token(web: Web) -> None:
    asyncio.run(web.accounts.create("ana", Role.ADMIN, "four words that fit"))
    with httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(door_of(web)))) as client:
        assert [row["name"] for row in client.get("/api/v1/accounts").json()] == ["ana"]
        assert client.post("/api/v1/pause", json={}).status_code == 201
        assert client.post("/api/v1/pause", content=b"x" * 70_000).status_code == 413
    # The same by TCP needs a password, whatever the client writes.
    for headers in ({}, {LOCAL: "True"}, {"hedgerow-local": "True"}):
        assert httpx.get(f"{web.url}/api/v1/accounts", headers=headers, trust_env=False).status_code == 401


def test_only_the_owner_can_connect(web: Web) -> None:
    assert stat.S_IMODE(door_of(web).stat().st_mode) == 0o600
    assert [uid for uid in (0, os.geteuid(), NOBODY) if not is_allowed_user(uid)] == [NOBODY]


@pytest.mark.root
def test_another_user_is_turned_away_even_where_the_folder_is_open(web: Web) -> None:
    door = door_of(web)
    door.chmod(0o666)
    for folder in door.parents:
        if folder.is_relative_to("/tmp/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    said = [
        subprocess.run([sys.executable, "-I", "-c", ASK, str(door), str(uid)], capture_output=True, text=True, timeout=60, check=False)
        for uid in (0, NOBODY)
    ]
    assert "200 OK" in said[0].stdout
    assert (said[1].stdout.strip(), said[1].stderr) == ("", "")


def test_a_full_web_does_not_keep_the_command_line_out(web: Web) -> None:
    """Connections by TCP have their limit; those of the command line are not among them."""
    idle = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(220)]
    try:
        for connection in idle:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        with httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(door_of(web)))) as client:
            assert client.get("/api/v1/status").status_code == 200
    finally:
        for connection in idle:
            connection.close()
