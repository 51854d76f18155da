"""Tunnels: relay bytes between a client and a server without reading them.

Memory is bounded: while one side takes no bytes, the other is not read from. Each side may close its half alone. Bytes
of a tunnel that transfers much go from socket to socket within the kernel, through a pipe (splice(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hedgerow.policies.model import Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.certificate_examiner import Server
from hedgerow.proxy.poller import END, END_MASK, HUNG_UP, Poller
from hedgerow.proxy.tunnel_traffic import TunnelUse

_READ_OCTETS = 64 * 1024
_MAX_READS = 16
"""Reads from one side in its turn, before the other connections have theirs."""

_MIN_SPLICED = 16 * 1024
"""Bytes at a time below which copying is as cheap."""

_BULK_PAUSE_S = 0.001
"""Seconds for which more is left to gather where much is transferred: a server sends it piece by piece, and each would
wake the gate.
"""

_PIPE_OCTETS = 256 * 1024
MAX_PIPES = 32
"""Pipes of a gate. The tunnels beyond that are copied, as are those that transfer little at a time."""

_buffer = bytearray(_READ_OCTETS)  # every read is passed on, or copied, before the next
_view = memoryview(_buffer)


class Pipe(NamedTuple):
    """File descriptors of a pipe's ends."""

    reading: int
    writing: int


class PipePool:
    """Empty pipes for tunnels. A tunnel has one only while bytes are in it."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._count = 0

    def take(self) -> Pipe | None:
        """Return an empty pipe; None if there are too many in use."""
        if self._free:
            return self._free.pop()
        if self._count >= MAX_PIPES:
            return None
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return None
        self._count += 1
        with contextlib.suppress(OSError):  # the user's pipes have many pages already: it stays at its 64 kB
            fcntl.fcntl(pipe.writing, fcntl.F_SETPIPE_SZ, _PIPE_OCTETS)
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take back a pipe that is empty."""
        self._free.append(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Close a pipe with what is in it."""
        self._count -= 1
        os.close(pipe.reading)
        os.close(pipe.writing)

    def close(self) -> None:
        while self._free:
            self.discard(self._free.pop())


@dataclass(slots=True, eq=False, repr=False)
class TunnelEnd:
    """One side of a tunnel. What is read from its socket is sent to the peer's.

    `count` is the bytes read from it, and it has `ended` when there are no more. While it `is_blocked`, it has yet to
    take what the peer has read: `unsent`, or `piped` bytes in `pipe`.
    """

    tunnel: Tunnel
    sock: socket.SocketType
    count: int = 0
    ended: bool = False
    is_blocked: bool = False
    unsent: bytes = b""
    pipe: Pipe | None = None
    piped: int = 0
    is_bulk: bool = False
    is_over: bool = False
    is_writing_watched: bool = False
    peer: TunnelEnd = field(init=False)

    def handle(self, events: int) -> None:
        """Handle events of a socket that is watched for room too."""
        if self.is_blocked and self._send_rest():
            if self.peer.ended:
                self.peer.pass_on_end()
            else:
                self.peer.relay()
        self.relay(events)

    def relay(self, events: int = 0) -> None:
        """Send the peer what can be read, after `events` of the socket; without any known, read until
        nothing is left.
        """
        is_last = events & END_MASK == END
        for _ in range(_MAX_READS):
            if self.ended or self.peer.is_blocked:
                return  # in the second case, until the peer has taken all
            pipe = self.tunnel.pipes.take() if self.is_bulk else None
            try:
                octets = self.sock.recv_into(_buffer) if pipe is None else self._splice(pipe)
            except BlockingIOError:
                if self.is_bulk and not self.is_writing_watched:
                    self.tunnel.poller.pause(self.sock, _BULK_PAUSE_S)
                return
            except OSError:
                self.tunnel.abort()
                return
            if octets == 0:
                self.ended = True
                self.pass_on_end()
                return
            self.count += octets
            if pipe is not None:
                self.is_bulk = octets >= _MIN_SPLICED
                continue
            self.ended = is_last and octets < _READ_OCTETS
            try:
                # The end can go in the same segment, unless it has to wait until this side has taken what its peer said
                # last.
                sent = self.peer.sock.send(_view[:octets], socket.MSG_MORE if self.ended and not self.is_blocked else 0)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.tunnel.abort()
                return
            if sent != octets:
                self.peer.keep(_view[sent:octets])
                return
            if self.ended:
                self.pass_on_end()
                return
            if octets == _READ_OCTETS:
                self.is_bulk = True
            elif events and not events & HUNG_UP:
                return
        asyncio.get_running_loop().call_soon(self.relay)

    def send(self, data: bytes) -> bool:
        """Send this side bytes, and keep those that it does not take yet.

        Return False if there are any, or if the tunnel is over.
        """
        if self.is_over:
            return False
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.tunnel.abort()
            return False
        if sent == len(data):
            return True
        self.keep(data[sent:])
        return False

    def keep(self, data: bytes | memoryview) -> None:
        """Keep bytes until this side takes them."""
        self.unsent = bytes(data)
        self._wait_for_room()

    def pass_on_end(self) -> None:
        """Close the peer's half, once all is sent to it. When both have ended, the tunnel is over."""
        peer = self.peer
        if peer.is_blocked:
            return
        if peer.ended:
            if not self.is_blocked:
                self.tunnel.abort()
            return
        try:
            peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.tunnel.abort()

    def drop_rest(self) -> None:
        """Drop what is still to be sent to this side."""
        self.unsent = b""
        if self.pipe is not None:
            self.tunnel.pipes.discard(self.pipe)
            self.pipe = None

    def _send_rest(self) -> bool:
        """Send what this side did not take before. Return True if nothing is left."""
        self.is_blocked = False
        if self.unsent:
            rest, self.unsent = self.unsent, b""
            if not self.send(rest):
                return False
        return self.pipe is None or self._drain()

    def _splice(self, pipe: Pipe) -> int:
        """Move bytes to the peer through an empty pipe.

        Return their number. Raises OSError, as BlockingIOError if there are none.
        """
        octets = 0
        try:
            octets = os.splice(self.sock.fileno(), pipe.writing, _PIPE_OCTETS, flags=os.SPLICE_F_NONBLOCK)
        finally:
            if octets == 0:
                self.tunnel.pipes.give_back(pipe)
        if octets:
            self.peer.pipe, self.peer.piped = pipe, octets
            self.peer._drain()
        return octets

    def _drain(self) -> bool:
        """Send this side the bytes in its pipe. Return False if some are left, or if the tunnel is over."""
        assert self.pipe is not None
        try:
            while self.piped:
                self.piped -= os.splice(self.pipe.reading, self.sock.fileno(), self.piped, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            self._wait_for_room()
            return False
        except OSError:
            self.tunnel.abort()
            return False
        self.tunnel.pipes.give_back(self.pipe)
        self.pipe = None
        return True

    def _wait_for_room(self) -> None:
        self.is_blocked = True
        if not self.is_writing_watched:
            self.is_writing_watched = True
            self.tunnel.poller.watch(self.sock, self.handle)
            self.tunnel.poller.watch_writing(self.sock)


class Tunnel:
    """A client and a server that are joined, with the facts needed to judge the tunnel again.

    `requests` has one for each host that the client named (CONNECT, SNI), all allowed under `ruleset`. `began` is in
    seconds by the gate's clock. `examined` is the server if it is of an unlisted host. `on_finished` is called once,
    when the tunnel is over.
    """

    __slots__ = (
        "_on_finished",
        "_seen",
        "_taken",
        "address",
        "began",
        "client",
        "device",
        "examined",
        "idle_since",
        "pipes",
        "poller",
        "requests",
        "ruleset",
        "server",
    )

    def __init__(
        self,
        poller: Poller,
        pipes: PipePool,
        on_finished: Callable[[Tunnel], None],
        address: str,
        ruleset: Ruleset,
        requests: tuple[Request, ...],
        client: socket.SocketType,
        server: socket.SocketType,
        examined: Server | None = None,
    ) -> None:
        self.examined = examined
        self.poller = poller
        self.pipes = pipes
        self._on_finished = on_finished
        self._seen = -1
        self._taken = (0, 0)
        self.idle_since = 0.0
        self.began = 0.0
        self.address = address
        self.ruleset = ruleset
        self.requests = requests
        self.client = TunnelEnd(self, client)
        self.server = TunnelEnd(self, server)
        self.client.peer, self.server.peer = self.server, self.client

    def start(self, first: bytes, preface: bytes = b"", *, to_client: bytes = b"") -> None:
        """Begin to relay. `first` is what was read from the client before, `to_client` what it has still to be sent.

        The server gets our own `preface` before it, which is not counted.
        """
        self.client.count += len(first)
        self.poller.watch(self.client.sock, self.client.relay)
        self.poller.watch(self.server.sock, self.server.relay)
        if to_client:
            self.client.send(to_client)
        self.server.send(preface + first)

    def abort(self) -> None:
        """End both connections at once. What is still to be sent is dropped."""
        if self.client.is_over:
            return
        for end in (self.client, self.server):
            end.is_over = end.ended = True
            end.drop_rest()
            self.poller.close(end.sock)
            del end.peer, end.tunnel  # no cycle is left, so that all is freed at once and not by the cycle collector
        self._on_finished(self)

    def idle_for(self, now: float) -> float:
        """Seconds without a byte in either direction, as seen by calls of this method."""
        if self.bytes_moved != self._seen:
            self._seen, self.idle_since = self.bytes_moved, now
        return now - self.idle_since

    @property
    def bytes_moved(self) -> int:
        """Bytes, in both directions together."""
        return self.client.count + self.server.count

    def take_use(self) -> TunnelUse:
        """Return what was moved since the last call of this method."""
        (up, down), request = self._taken, self.requests[-1]
        self._taken = self.client.count, self.server.count
        moved = self.client.count - up, self.server.count - down
        return TunnelUse(self.address, request.device, request.host, self.examined is not None, *moved)

    @property
    def half_closed(self) -> bool:
        return self.client.ended or self.server.ended
