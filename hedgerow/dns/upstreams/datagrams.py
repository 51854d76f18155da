"""Many datagrams with one system call where the system supports that (64-bit Linux): memory for them, and use on
connected sockets.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
from array import array
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Final

BATCH_SIZE: Final = 64
MAX_QUESTION_MESSAGE: Final = 512  # octets: the longest name and our options take fewer
_MAX_RESPONSE: Final = 4096  # octets; we announce less
_NOWHERE: Final = repeat((0, 0, 0, 0))


class DatagramSlots:
    """Memory for `count` datagrams, laid out as recvmmsg and sendmmsg require.

    A struct mmsghdr in `headers` is eight words of 8 octets: address, its length, iovec, 1, control, its length, flags,
    octets received. A struct iovec in `iovecs` is two: address, length. `slots` hold the datagrams from `offsets` on:
    of Python's kinds of memory, an mmap is the one whose slices are bytes. `places` are addresses and lengths of the
    memory for a sender's address and for control messages.
    """

    def __init__(self, count: int, octets: int, places: Iterable[tuple[int, int, int, int]] = _NOWHERE) -> None:
        self.offsets = tuple(octets * index for index in range(count))
        self.slots = mmap.mmap(-1, octets * count)
        slots = pointer_to(self.slots)
        self.iovecs = array("Q", chain.from_iterable((slots + at, octets) for at in self.offsets))
        iovecs = range(pointer_to(self.iovecs), 1 << 64, 16)
        headers = (
            (name, name_length, iovec, 1, control, control_length, 0, 0)
            for _, iovec, (name, name_length, control, control_length) in zip(
                self.offsets, iovecs, places, strict=False
            )
        )
        self.headers = array("Q", chain.from_iterable(headers))
        self.headers_at = ctypes.c_void_p(pointer_to(self.headers))


def pointer_to(memory: mmap.mmap | array[int]) -> int:
    """Return the address of a buffer, which must never grow."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class DatagramBatch:
    """Memory for a batch to receive and one to send.

    Each is used and done with in one call, so that many sockets can share it.
    """

    def __init__(self) -> None:
        self._libc = None
        if sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8:
            libc = ctypes.CDLL(None, use_errno=True)
            if hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg"):
                self._libc = libc
                self._received, self._sent = (
                    DatagramSlots(BATCH_SIZE, _MAX_RESPONSE),
                    DatagramSlots(BATCH_SIZE, MAX_QUESTION_MESSAGE),
                )

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return the datagrams that are there, up to `BATCH_SIZE`. Raises OSError."""
        if self._libc is None:
            return self._receive_each(sock)
        memory = self._received
        count = self._libc.recvmmsg(sock.fileno(), memory.headers_at, BATCH_SIZE, socket.MSG_DONTWAIT, None)
        if count < 0:
            return self._failed(sock)
        return [
            memory.slots[at : at + size]
            for at, size in zip(memory.offsets, memory.headers[7 : 8 * count : 8], strict=False)
        ]

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


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
