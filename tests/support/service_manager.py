"""The part of systemd that a service talks to: it hears notifications, and keeps file descriptors over a restart
(sd_notify(3)).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_PASS = """
import fcntl, os, sys
names, numbers, command = sys.argv[1], sys.argv[2], sys.argv[3:]
copies = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 1000) for number in numbers.split(",")]
for place, copy in enumerate(copies, 3):
    os.dup2(copy, place)
    os.close(copy)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies)), "LISTEN_FDNAMES": names}
os.execvp(command[0], command)
"""


class ServiceManager:
    """Hears what a service sends to the Unix socket at `place`.

    `heard` are its messages without those about descriptors.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.heard = place, list[bytes]()
        self._kept: dict[int, str] = {}
        self._guard = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.place)}

    @property
    def kept(self) -> list[str]:
        """The names of the descriptors that it keeps."""
        with self._guard:
            return list(self._kept.values())

    def passing(self, command: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
        """Return a command that runs `command` with the kept descriptors as systemd passes them, and those that it must
        inherit.
        """
        with self._guard:
            kept = dict(self._kept)
        if not kept:
            return [*command], ()
        return [sys.executable, "-S", "-c", _PASS, ":".join(kept.values()), ",".join(map(str, kept)), *command], tuple(
            kept
        )

    def sockets(self) -> list[tuple[str, socket.socket]]:
        """Return duplicates of the descriptors with their names."""
        with self._guard:
            return [(name, socket.socket(fileno=os.dup(number))) for number, name in self._kept.items()]

    def forget(self, name: str = "") -> None:
        """Close the descriptors of a name, or all."""
        with self._guard:
            for number in [each for each, its_name in self._kept.items() if name in ("", its_name)]:
                del self._kept[number]
                os.close(number)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.place))
        self._thread.join()
        self._socket.close()
        self.forget()

    def _read(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 253)
            lines = message.split(b"\n")
            name = next(
                (line.removeprefix(b"FDNAME=").decode() for line in lines if line.startswith(b"FDNAME=")), "stored"
            )
            if b"FDSTORE=1" in lines:
                with self._guard:
                    self._kept |= dict.fromkeys(descriptors, name)
                continue
            for each in descriptors:  # of a barrier
                os.close(each)
            if b"FDSTOREREMOVE=1" in lines:
                self.forget(name)
            elif not message:
                return
            elif b"BARRIER=1" not in lines:
                self.heard.append(message)


@contextlib.contextmanager
def service_manager(place: Path) -> Iterator[ServiceManager]:
    """A service manager that listens at `place` while the block runs."""
    manager = ServiceManager(place)
    try:
        yield manager
    finally:
        manager.close()
