"""Commands that change something fail with a status of its own if DNS and proxy do not apply it yet."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hedgerow.app.settings import Endpoint, Settings

CALL = "from pathlib import Path; from hedgerow.app.commands import options; print(options.{})"
RESUME = "call_api(Path({!r}), 'POST', '/resume')"
FILE = "call_api_bytes(Path({!r}), '/devices/phone/tunnel', 'POST').decode()"
NOT_YET = "Hedgerow-In-Force: ?0\r\nHedgerow-Problem: not in force yet\r\n"


@pytest.mark.parametrize(
    ("call", "fields", "output", "error", "status"),
    [
        (RESUME, "Hedgerow-In-Force: ?1\r\n", "{}\n", "", 0),
        (
            RESUME,
            "Hedgerow-In-Force: ?1\r\nHedgerow-Problem: it ends (no room%3F)\r\n",
            "{}\n",
            "hedgerow: it ends (no room?)\n",
            0,
        ),
        (RESUME, NOT_YET, "", "hedgerow: not in force yet\n", 3),
        pytest.param(FILE, NOT_YET, "{}\n", "hedgerow: not in force yet\n", 0, id="the only copy of a key"),
    ],
)
def test_a_change_that_is_not_in_force_is_no_success(
    tmp_path: Path, call: str, fields: str, output: str, error: str, status: int
) -> None:
    place = Endpoint("127.0.0.1", 9)
    settings = Settings(tmp_path, None, place, place, place)
    settings.run.mkdir()
    settings.save()
    answer = (
        f"HTTP/1.1 200 OK\r\n{fields}Content-Type: application/json\r\nContent-Length: 2\r\nConnection:"
        " close\r\n\r\n{}"
    )

    def serve() -> None:
        connection, _ = control.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer.encode())

    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(settings.control_socket))
        control.listen()
        threading.Thread(target=serve, daemon=True).start()
        program = (
            f"import typer\ntry:\n {CALL.format(call.format(str(tmp_path)))}\nexcept typer.Exit as end:\n raise"
            " SystemExit(end.exit_code)"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.stdout, done.stderr, done.returncode) == (output, error, status)
