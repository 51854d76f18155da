"""How a client's connection goes from a gate to an inspector: its socket itself, in one datagram with the line that introduces it.

Nothing is relayed: the inspector speaks with the client alone from then on. Inspectors have datagram sockets for our own user only. What
was sent before a successor took over the name is still the elder's to take.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from hedgerow.proxy.pass_ticket import MAX_INTRODUCTION

_MOST_BESIDE = 16 * 1024
"""Bytes of a message that go with the socket; what is longer, such as an upload that has begun, goes in a file in memory."""

_LONGEST = MAX_INTRODUCTION + _MOST_BESIDE
_DESCRIPTOR_BYTES = array.array("i").itemsize


class Messenger:
    """A gate's end."""

    def __init__(self, inspectors: Sequence[Path]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._inspectors = tuple(str(path) for path in inspectors)
        self._turn = 0

    def hand_over(self, client: int, message: bytes) -> bool:
        """Give a client's socket, by its descriptor, to the inspector whose turn it is, or else to another; ours is still to be closed.

        False when none that is up has room at the moment. Raises OSError when none is up.
        """
        if len(message) <= _MOST_BESIDE:
            return self._send(message, [client])
        file = os.memfd_create("message", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as rest:
                rest.write(message[_MOST_BESIDE:])
            return self._send(message[:_MOST_BESIDE], [client, file])
        finally:
            os.close(file)

    def _send(self, text: bytes, descriptors: Sequence[int]) -> bool:
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._turn = turn = (self._turn + 1) % len(self._inspectors)
        is_full, failure = False, OSError("there is no inspector")
        for path in (*self._inspectors[turn:], *self._inspectors[:turn]):
            try:
                self._socket.sendmsg([text], beside, 0, path)
            except BlockingIOError:
                is_full = True
            except OSError as error:
                failure = error
            else:
                return True
        if is_full:
            return False
        raise failure

    def close(self) -> None:
        self._socket.close()


def listen(path: Path) -> socket.socket:
    """An inspector's end, under whose name an older one goes on with what it has. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    fresh = path.with_name(f".{path.stem[-8:]}.{os.getpid()}")
    try:
        listener.setblocking(False)
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        fresh.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


def take_over(listener: socket.socket) -> tuple[socket.socket, bytes] | None:
    """The next client and the message about it; None when nobody waits. Who sends no socket is passed over."""
    while True:
        try:
            text, beside, _, _ = listener.recvmsg(_LONGEST, socket.CMSG_SPACE(2 * _DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        descriptors = array.array("i")
        for _, _, data in beside:
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
        if not descriptors:
            continue
        if len(descriptors) > 1:
            with os.fdopen(descriptors[1], "rb") as rest:
                rest.seek(0)
                text += rest.read()
        return socket.socket(fileno=descriptors[0]), text
