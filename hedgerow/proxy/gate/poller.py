"""Raw sockets in an event loop, for connections too short to be worth a transport each: one epoll set, edge-triggered (epoll(7)).

A handler must read until nothing is left, since it is not called again for what it leaves. It must also stand being called for nothing.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

HUNG_UP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""Events after which the end of the data, or an error, can be read."""

READABLE = select.EPOLLIN | HUNG_UP

END, END_MASK = select.EPOLLRDHUP, select.EPOLLRDHUP | select.EPOLLERR | select.EPOLLPRI
"""If events are `END` within this mask, the end of the data has come: a read that is not filled has all the rest.

An error has to be read, and a read stops before urgent data.
"""

_READING = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_WRITING = _READING | select.EPOLLOUT
_MAX_EVENTS = 128

type Handler = Callable[[int], None]
"""Called with the events of a socket, a mask of EPOLL* values."""


class Poller:
    """The sockets that one event loop watches. Make it in that loop, and close it there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._loop.add_reader(self._epoll.fileno(), self._poll)

    def watch(self, sock: socket.SocketType, handler: Handler) -> None:
        """Call `handler` when `sock` can be read from, from now on and if it can be already. It replaces the socket's last handler."""
        descriptor = sock.fileno()
        if descriptor not in self._handlers:
            self._epoll.register(descriptor, _READING)
        self._handlers[descriptor] = handler

    def watch_writing(self, sock: socket.SocketType) -> None:
        """Call a watched socket's handler also when it can be written to, from now on."""
        self._epoll.modify(sock.fileno(), _WRITING)

    def pause(self, sock: socket.SocketType, seconds: float) -> None:
        """Do not call a watched socket's handler for what comes within `seconds`, unless the connection fails or ends both ways."""
        descriptor = sock.fileno()
        self._epoll.modify(descriptor, select.EPOLLET)
        self._loop.call_later(seconds, self._resume, descriptor, self._handlers[descriptor])

    def close(self, sock: socket.SocketType) -> None:
        """Close a socket, watched or not."""
        self._handlers.pop(sock.fileno(), None)
        sock.close()

    def release(self, sock: socket.SocketType) -> None:
        """Close a socket of which another process has a copy: it would be watched as long as that one lives."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())
        sock.close()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` once others have had their turn."""
        self._loop.call_soon(callback)

    def end(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._handlers.clear()

    def _resume(self, descriptor: int, handler: Handler) -> None:
        if self._handlers.get(descriptor) == handler:  # else it was closed, or is watched in another way since then
            self._epoll.modify(descriptor, _READING)

    def _poll(self) -> None:
        for descriptor, events in self._epoll.poll(0, _MAX_EVENTS):
            handler = self._handlers.get(descriptor)
            if handler is None:
                continue
            try:
                handler(events)
            except Exception:  # the events of the others come only once
                log.exception("a handler of socket events failed")
