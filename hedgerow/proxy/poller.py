"""Raw sockets in an event loop, for connections too short for transports of the loop: one epoll set (epoll(7)).

The handler of an edge-triggered socket must read until nothing is left, since it is not called again for what it
leaves. Each handler must also bear being called for nothing.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
import time
from collections.abc import Callable
from contextvars import Context

from hedgerow.watched_tasks import note_unexpected

HUNG_UP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""Events after which the end of the data, or an error, can be read."""

READABLE = select.EPOLLIN | HUNG_UP

END, END_MASK = select.EPOLLRDHUP, select.EPOLLRDHUP | select.EPOLLERR | select.EPOLLPRI
"""If events are `END` within this mask, the end of the data has come: a read that is not filled has all the rest.

An error has to be read, and a read stops before urgent data.
"""

_READING = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_WRITING = _READING | select.EPOLLOUT
_MAX_EVENTS = 64  # that are handled before others have their turn

type Handler = Callable[[int], None]
"""Called with the events of a socket, a mask of EPOLL* values."""


class Poller:
    """Raw sockets in an epoll set of their own, each with the handler of its events.

    Most are watched for edges, as above. Sockets of transports, which may leave what they do not want, are watched for
    levels.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        # since the kernel was asked for events: another socket may have the descriptor by now
        self._closed = set[int]()

    def fileno(self) -> int:
        """Return the descriptor of the set, which can be read from while any socket has events."""
        return self._epoll.fileno()

    def watch_levels(self, descriptor: int, handler: Handler, before: int, events: int) -> None:
        """Call `handler` as long as a socket has one of `events`, instead of those `before`; 0 for none."""
        if self._epoll.closed:
            return
        if not before:
            self._epoll.register(descriptor, events)
            self._handlers[descriptor] = handler
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
            del self._handlers[descriptor]

    def watch(self, sock: socket.SocketType, handler: Handler) -> None:
        """Call `handler` when `sock` can be read from, from now on and if it can be already.

        It replaces the socket's last handler.
        """
        descriptor = sock.fileno()
        if descriptor not in self._handlers:
            self._epoll.register(descriptor, _READING)
        self._handlers[descriptor] = handler

    def watch_writing(self, sock: socket.SocketType) -> None:
        """Call a watched socket's handler also when it can be written to, from now on."""
        self._epoll.modify(sock.fileno(), _WRITING)

    def unwatch(self, sock: socket.SocketType) -> None:
        """Watch a socket no longer."""
        self._closed.add(sock.fileno())
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def pause(self, sock: socket.SocketType, seconds: float) -> None:
        """Do not call a watched socket's handler for what comes within `seconds`, unless the connection fails or ends
        both ways.
        """
        descriptor = sock.fileno()
        self._epoll.modify(descriptor, select.EPOLLET)
        asyncio.get_running_loop().call_later(seconds, self._resume, descriptor, self._handlers[descriptor])

    def close(self, sock: socket.SocketType) -> None:
        """Close a socket, watched or not."""
        self._closed.add(sock.fileno())
        self._handlers.pop(sock.fileno(), None)
        sock.close()

    def release(self, sock: socket.SocketType) -> None:
        """Close a socket of which another process has a copy: it would be watched as long as that one lives."""
        self.unwatch(sock)
        sock.close()

    def end(self) -> None:
        """Stop watching."""
        self._epoll.close()
        self._handlers.clear()

    def poll(self, seconds: float = 0.0) -> None:
        """Call the handlers of sockets with events, which may take so long to come; -1 for any time."""
        found = self._epoll.poll(seconds, _MAX_EVENTS)
        self._closed.clear()
        for descriptor, events in found:
            handler = self._handlers.get(descriptor)
            if handler is None or descriptor in self._closed:
                continue
            try:
                handler(events)
            except Exception:  # the events of the others come only once
                note_unexpected("a handler of socket events failed")

    def _resume(self, descriptor: int, handler: Handler) -> None:
        if self._handlers.get(descriptor) == handler:  # else it was closed, or is watched in another way since then
            self._epoll.modify(descriptor, _READING)


class _Selector(selectors.EpollSelector):
    """The loop's own sockets, for whose events the poller waits too."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = Poller()
        self.poller.watch_levels(self.fileno(), self._hear, before=0, events=select.EPOLLIN)
        self.is_loop_needed = self._has_events = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.is_loop_needed = self._has_events = False
        ends, left = (0.0, -1.0) if timeout is None else (time.monotonic() + timeout, timeout)
        while True:
            self.poller.poll(left)
            if self.is_loop_needed or (timeout is not None and (left := ends - time.monotonic()) <= 0):
                return super().select(0) if self._has_events else []

    def _hear(self, _events: int) -> None:
        self.is_loop_needed = self._has_events = True

    def close(self) -> None:
        self.poller.end()
        super().close()


class PollerLoop(asyncio.SelectorEventLoop):
    """An event loop that calls the handlers of its `poller` while it waits, since a round of any loop costs more than
    most of them.

    A round begins for timers, for the loop's own sockets, and for callbacks, whatever schedules them.
    """

    def __init__(self) -> None:
        self._own_selector = selector = _Selector()
        self.poller = selector.poller
        super().__init__(selector)

    def call_soon[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._own_selector.is_loop_needed = True
        return super().call_soon(callback, *args, context=context)

    def call_at[*Ts](
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._own_selector.is_loop_needed = True
        return super().call_at(when, callback, *args, context=context)


def running_poller() -> Poller:
    """Return the poller of the running loop, which must be a `PollerLoop`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, PollerLoop)
    return loop.poller
