"""Datagrams of connected sockets, many with one system call where the system supports that (64-bit Linux)."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
from array import array
from itertools import chain
from typing import Final

BATCH_SIZE: Final = 64
MAX_QUESTION_MESSAGE: Final = 512  # octets: the longest name and our options take fewer
_MAX_RESPONSE: Final = 4096  # octets; we announce less


class DatagramBatch:
    """Memory for a batch to receive and one to send. Each is used and done with in one call, so that many sockets can share it."""

    def __init__(self) -> None:
        self._libc = None
        if sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8:
            libc = ctypes.CDLL(None, use_errno=True)
            if hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg"):
                self._libc, self._received, self._sent = libc, _Memory(_MAX_RESPONSE), _Memory(MAX_QUESTION_MESSAGE)

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return the datagrams that are there, up to `BATCH_SIZE`. Raises OSError."""
        if self._libc is None:
            return self._receive_each(sock)
        memory = self._received
        count = self._libc.recvmmsg(sock.fileno(), memory.headers_at, BATCH_SIZE, socket.MSG_DONTWAIT, None)
        if count < 0:
            return self._failed(sock)
        return [memory.slots[at : at + size] for at, size in zip(memory.offsets, memory.headers[7 : 8 * count : 8], strict=False)]

    def send(self, sock: socket.socket, messages: list[bytes]) -> None:
        """Send datagrams, none longer than `MAX_QUESTION_MESSAGE`. Raises OSError."""
        if self._libc is None:
            for message in messages:
                sock.send(message)
            return
        memory = self._sent
        for start in range(0, len(messages), BATCH_SIZE):
            part = messages[start : start + BATCH_SIZE]
            for index, message in enumerate(part):
                at = memory.offsets[index]
                memory.slots[at : at + len(message)] = message
                memory.iovecs[2 * index + 1] = len(message)
            sent = 0
            while sent < len(part):
                at_header = ctypes.c_void_p((memory.headers_at.value or 0) + 64 * sent)
                now = self._libc.sendmmsg(sock.fileno(), at_header, len(part) - sent, socket.MSG_DONTWAIT)
                if now <= 0:
                    raise _last_error()
                sent += now

    def _failed(self, sock: socket.socket) -> list[bytes]:
        fault = _last_error()
        if fault.errno == errno.ENOSYS:
            self._libc = None
            return self._receive_each(sock)
        if fault.errno in (errno.EAGAIN, errno.EINTR):
            return []
        raise fault

    def _receive_each(self, sock: socket.socket) -> list[bytes]:
        messages: list[bytes] = []
        try:
            while len(messages) < BATCH_SIZE:
                messages.append(sock.recv(_MAX_RESPONSE))
        except BlockingIOError:
            pass
        except OSError:
            if not messages:
                raise
        return messages


class _Memory:
    """Slots for datagrams, with a struct mmsghdr (eight words of 8 octets) and a struct iovec (two) for each. Addresses are left out."""

    def __init__(self, octets: int) -> None:
        self.offsets = tuple(octets * index for index in range(BATCH_SIZE))
        self.slots = mmap.mmap(-1, octets * BATCH_SIZE)
        slots = ctypes.addressof(ctypes.c_char.from_buffer(self.slots))
        self.iovecs = array("Q", chain.from_iterable((slots + at, octets) for at in self.offsets))
        iovecs = ctypes.addressof(ctypes.c_char.from_buffer(self.iovecs))
        self.headers = array("Q", chain.from_iterable((0, 0, iovecs + 16 * index, 1, 0, 0, 0, 0) for index in range(BATCH_SIZE)))
        self.headers_at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self.headers)))


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
