"""Clients that open connections, send a little or nothing, and open them again as soon as they are closed.

A program of its own: `python silent_clients.py HOST PORT CONNECTIONS BYTES ADDRESS…` opens so many connections from
each address, sends the bytes (in hexadecimal, maybe none) over each, and prints a line once it has tried all of them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PAUSE = 0.05
"""Seconds from the end of a connection until it is opened again."""


@contextlib.contextmanager
def silent_clients(
    server: tuple[str, int], sources: Sequence[str], connections: int, first: bytes = b""
) -> Iterator[None]:
    """Run the program on this machine, from when it has tried all connections."""
    command = [sys.executable, str(Path(__file__)), server[0], str(server[1]), str(connections), first.hex(), *sources]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            assert program.stdout.readline() == "held\n"
            yield
            assert program.poll() is None, "the clients went away"
        finally:
            program.kill()


class Slots:
    """The places of connections, some of which are open."""

    def __init__(self, server: tuple[str, int], first: bytes) -> None:
        self._server, self._first = server, first
        self._family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, str]] = {}

    def open(self, source: str) -> bool:
        """Begin a connection. False if the system has no room for it."""
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind((source, 0))
            sock.connect_ex(self._server)
        except OSError:
            sock.close()
            return False
        self._open[sock.fileno()] = (sock, source)
        self._poll.register(sock, select.EPOLLOUT)
        return True

    def wait(self) -> list[str]:
        """Return the addresses whose connections have ended, one for each of these."""
        ended = []
        for descriptor, events in self._poll.poll(PAUSE):
            sock, source = self._open[descriptor]
            try:
                if events == select.EPOLLOUT:
                    sock.send(self._first)
                    self._poll.modify(sock, select.EPOLLIN | select.EPOLLRDHUP)
                elif sock.recv(65536):
                    continue
                else:
                    raise EOFError
            except BlockingIOError:
                pass
            except (OSError, EOFError):
                del self._open[descriptor]
                sock.close()
                ended.append(source)
        return ended


def main(host: str, port: str, connections: str, first: str, *sources: str) -> None:
    slots = Slots((host, int(port)), bytes.fromhex(first))
    waiting = [source for _ in range(int(connections)) for source in sources]
    is_first = True
    while True:
        waiting = [source for source in waiting if not slots.open(source)]
        until = time.monotonic() + PAUSE
        while time.monotonic() < until:
            waiting += slots.wait()
        if is_first:
            print("held", flush=True)
            is_first = False


if __name__ == "__main__":
    main(*sys.argv[1:])
