"""A transport over a connected TCP socket that begins at once, without a task and a round of the event loop, and ends
as quickly.

It behaves as the event loop's own transports do, for what a `Stream` needs: the protocol stays until it closes, and no
half of the connection is closed alone. Most inspected connections are so short that beginning and ending cost more than
the rest.
"""

from __future__ import annotations

import asyncio
import select
import socket

from hedgerow.proxy.poller import Poller

_READ = 64 * 1024
_HIGH, _LOW = 64 * 1024, 16 * 1024  # bytes at which the protocol is asked to pause and to resume writing


class SocketTransport(asyncio.Transport):
    """A transport that reads and writes `sock`, which is not blocking, for a protocol, and closes it."""

    __slots__ = (
        "_buffer",
        "_descriptor",
        "_is_closing",
        "_is_read",
        "_is_read_paused",
        "_is_reading",
        "_is_write_paused",
        "_loop",
        "_poller",
        "_protocol",
        "_sock",
        "_watched",
    )

    def __init__(self, sock: socket.socket, protocol: asyncio.Protocol, poller: Poller) -> None:
        super().__init__({"socket": sock})
        self._loop, self._poller, self._watched = asyncio.get_running_loop(), poller, 0
        self._sock, self._protocol = sock, protocol
        self._descriptor = sock.fileno()
        self._buffer = bytearray()
        self._is_closing = self._is_read = False
        self._is_read_paused = self._is_reading = self._is_write_paused = False
        protocol.connection_made(self)
        self._update_reading(wants=True)

    def handle_events(self, events: int) -> None:
        """Write and read what is possible. An error or the end of the connection shows by either."""
        if self._buffer and events & ~select.EPOLLIN:
            self._write_rest()
        if self._is_reading and events & ~select.EPOLLOUT:
            self._read()

    def _watch(self) -> None:
        events = (select.EPOLLIN if self._is_reading else 0) | (select.EPOLLOUT if self._buffer else 0)
        if events != self._watched:
            self._poller.watch_levels(self._descriptor, self.handle_events, self._watched, events)
            self._watched = events

    # Reading.

    def _read(self) -> None:
        if self._is_read_paused:
            self._update_reading(wants=False)
            return
        protocol = self._protocol
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        try:
            if data:
                protocol.data_received(data)
            else:
                protocol.eof_received()
                self._update_reading(wants=False)
                self._is_read = True
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "a protocol failed", "exception": error, "transport": self, "protocol": protocol},
            )
            self._finish(error)

    def _update_reading(self, *, wants: bool) -> None:
        if wants == self._is_reading or (wants and (self._is_closing or self._is_read)):
            return
        self._is_reading = wants
        self._watch()

    def pause_reading(self) -> None:
        self._is_read_paused = True  # the event loop is told when more comes: most clients wait for us anyway

    def resume_reading(self) -> None:
        self._is_read_paused = False
        self._update_reading(wants=True)

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        if not self._buffer:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._finish(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._buffer += data
        self._watch()
        if len(self._buffer) > _HIGH and not self._is_write_paused:
            self._is_write_paused = True
            self._protocol.pause_writing()

    def _write_rest(self) -> None:
        try:
            del self._buffer[: self._sock.send(self._buffer)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        if not self._buffer:
            self._watch()
            if self._is_closing:
                self._end(None)
                return
        if len(self._buffer) <= _LOW and self._is_write_paused:
            self._is_write_paused = False
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    # The end.

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Close once everything is sent."""
        if not self._is_closing:
            self._update_reading(wants=False)
            self._is_closing = True
            if not self._buffer:
                self._end(None)

    def abort(self) -> None:
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        """Drop what is not sent, and end."""
        self._update_reading(wants=False)
        if self._buffer:
            self._buffer.clear()
            self._watch()
        elif self._is_closing:
            return  # it has ended already
        self._is_closing = True
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
        # they refer to each other, and TLS states are large: they are freed now, not when the collector runs
        del self._protocol
