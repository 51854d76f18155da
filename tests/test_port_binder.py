"""A Hedgerow without capabilities opens ports below 1024, large buffers and TPROXY by a helper that has them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.port_binder import VARIABLE
from hedgerow.sockets import bind_unix_socket

pytestmark = pytest.mark.root

OPEN = """
import socket, sys
from hedgerow.confinement import keep_capabilities
from hedgerow.sockets import open_socket, open_udp_socket
from hedgerow.proxy.gate.destination import enable_ip_transparent
keep_capabilities(())
for host in ("127.0.0.1", "::1"):
    with open_udp_socket(host, 91) as sock:
        print(*sock.getsockname()[:2], sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    with open_socket(host, 91, socket.SOCK_STREAM) as sock:
        print(*sock.getsockname()[:2], enable_ip_transparent(sock))
with open_socket("127.0.0.1", 91, socket.SOCK_STREAM, reuse_port=False) as sock:
    sock.listen()
    try:
        open_socket("127.0.0.1", 91, socket.SOCK_STREAM, reuse_port=False)
    except OSError as error:
        print(error)
"""


@contextlib.contextmanager
def binder(place: Path, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """A helper as systemd starts it, with the listening socket as its descriptor 3, in namespaces of its own."""
    with bind_unix_socket(place, socket.SOCK_STREAM, 8) as listener:
        listener.setblocking(True)
        activate = f"import os, sys; os.dup2({listener.fileno()}, 3); os.execvp(sys.argv[1], sys.argv[1:])"
        helper = (sys.executable, "-P", "-I", "-m", "hedgerow.port_binder")
        words = [sys.executable, "-c", activate, *before, *helper]
        with subprocess.Popen(words, pass_fds=[listener.fileno()]) as process:
            try:
                yield process
            finally:
                process.kill()


def run_without_capabilities(code: str, place: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | (
        {VARIABLE: str(place)} if place else {}
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_sockets_without_a_capability_of_ones_own(tmp_path: Path) -> None:
    """The helper has another network, as in its unit: what it binds belongs to the network of the process
    that sent it.
    """
    place = tmp_path / "ports.sock"
    assert "PermissionError" in run_without_capabilities(OPEN, None).stderr
    with binder(place, "unshare", "--net"):
        done = run_without_capabilities(OPEN, place)
        assert done.stdout.splitlines() == [
            *("127.0.0.1 91 8388608", "127.0.0.1 91 True", "::1 91 8388608", "::1 91 True"),
            "[Errno 98] Address already in use",
        ], done.stderr


@pytest.mark.parametrize("message", [b"bind", b"set 1 1 1", b"set 41 35 1", b"", b"bind 127.0.0.1 x 0", b"\xff" * 256])
def test_nothing_else_is_done(tmp_path: Path, message: bytes) -> None:
    """A request for anything else ends the connection, and the next one is served."""
    place = tmp_path / "ports.sock"
    with binder(place) as process, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        for words, answer in ((message, b""), (b"set 0 19 1", b"0"), (b"bind 192.0.2.77 91 0", b"0")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(str(place))
                if words:
                    socket.send_fds(connection, [words], [sock.fileno()])
                else:
                    connection.shutdown(socket.SHUT_WR)
                assert connection.recv(16) == answer
        assert process.poll() is None
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_DEBUG) == 0
