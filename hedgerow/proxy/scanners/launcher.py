"""The launcher: a process with a user id of its own, which starts the programs that judge strangers' files for an
inspector (`python -m hedgerow.proxy.scanners.launcher`).

A confined inspector can give no process another id. So it starts the launcher before it confines itself, and sends it a
message for each program: the command, and the socket that the program gets as standard input. The launcher kills the
program when the other end of that socket is closed, and ends when the inspector does.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hedgerow.confinement import Confinement, Sockets, code_paths, confine, name_process
from hedgerow.port_binder import receive_descriptors

COMMAND = (sys.executable, "-P", "-m", "hedgerow.proxy.scanners.launcher")
_COMMAND_OCTETS = 4096
_END_SECONDS = 2.0
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR

type StartProgram = Callable[[Sequence[str], int], subprocess.Popen[bytes] | None]
"""Starts a command with a descriptor as its standard input. Returns the process if it is a child. Raises OSError."""


def start_child(command: Sequence[str], standard_input: int) -> subprocess.Popen[bytes]:
    """Start a command as a child of this process, under its user id. Raises OSError."""
    return subprocess.Popen(command, stdin=standard_input, stdout=subprocess.DEVNULL, cwd="/", env=plain_environment())


class Launcher:
    """The inspector's side of its launcher. It must be made before the inspector confines itself."""

    def __init__(self, uid: int, gid: int, command: Sequence[str] = COMMAND) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=plain_environment(),
                user=uid,
                group=gid,
                extra_groups=[],
            )

    @property
    def is_gone(self) -> bool:
        """The process has ended, and a confined inspector can't start another."""
        return self._process.poll() is not None

    def start(self, command: Sequence[str], standard_input: int) -> None:
        """Request a program. If it can't be started, the other end of its socket is closed, as by one that ends."""
        with contextlib.suppress(OSError):
            message = "\0".join(command).encode()
            socket.send_fds(self._channel, [message], [standard_input], socket.MSG_DONTWAIT)

    def close(self) -> None:
        """End the process and its programs."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)


def plain_environment() -> dict[str, str]:
    """Return the variables that a program gets, none of which is ours."""
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


@dataclass(frozen=True, slots=True)
class _Program:
    process: subprocess.Popen[bytes]
    ended: int  # a descriptor that can be read once the process has ended
    standard_input: int  # kept to see that its other end was closed


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._programs: dict[int, _Program] = {}  # by both descriptors
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def run(self) -> None:
        """Serve until the inspector is gone."""
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor != self._channel.fileno():
                        self._end(descriptor)
                    elif not self._take_message():
                        return
        finally:
            for descriptor in list(self._programs):
                self._end(descriptor)

    def _take_message(self) -> bool:
        message, descriptors = receive_descriptors(self._channel, _COMMAND_OCTETS, 1)
        for standard_input in descriptors:
            try:
                self._start(message.decode().split("\0"), standard_input)
            except OSError:  # the inspector sees the end of the connection
                os.close(standard_input)
        return bool(message)

    def _start(self, command: Sequence[str], standard_input: int) -> None:
        process = start_child(command, standard_input)
        program = _Program(process, os.pidfd_open(process.pid), standard_input)
        for descriptor, events in ((program.ended, select.POLLIN), (standard_input, _GONE)):
            self._programs[descriptor] = program
            self._poll.register(descriptor, events)

    def _end(self, descriptor: int) -> None:
        """Kill the program that is described, if it runs still, and forget it."""
        program = self._programs.get(descriptor)
        if program is None:
            return
        program.process.kill()
        program.process.wait()
        for each in (program.ended, program.standard_input):
            self._poll.unregister(each)
            del self._programs[each]
            os.close(each)


def main() -> None:
    """Serve the inspector that holds the other end of standard input."""
    name_process("launcher")
    confine(Confinement(code_paths(), sockets=Sockets.NONE, may_signal=True))
    with contextlib.suppress(ConnectionError):
        _Server(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
