"""The sockets that clients talk to: UDP and TCP, and the path of a query that is answered from the cache."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.clients import ClientOf, Clients, Known, Observe
from hedgerow.dns.datagrams import Listener, listen_on
from hedgerow.dns.inquiries import Upstreams
from hedgerow.dns.later import LATER, Later
from hedgerow.dns.resolver import Answer, Case, Decide, Resolver
from hedgerow.dns.streams import StreamServer

log = logging.getLogger(__name__)

MAX_MISSES: Final = 4096  # queries of one worker that wait for upstreams; what comes on top is dropped and asked again
_SOCKET_BUFFER: Final = 4 << 20
_SWEEP_STEPS: Final = 500


type Counters = dict[tuple[str, ...], float]


class Server:
    """All listeners of one worker over one resolver. Made and used inside a running event loop."""

    def __init__(self, resolver: Resolver, client_of: ClientOf, observe: Observe) -> None:
        self.resolver = resolver
        self.counters: Counters = {}
        self.clients = Clients(client_of, resolver.prefix, observe, self.counters, resolver.clocks)
        self.streams = StreamServer(self)
        self._datagrams: list[Listener] = []
        self._misses: set[asyncio.Task[None]] = set()
        self._timer = asyncio.get_running_loop().call_later(1.0, self._tick)

    async def listen(self, host: str, port: int) -> int:
        """Serve UDP and TCP at an address; port 0 takes a free one. Returns the port. Raises OSError."""
        datagrams, streams = open_pair(host, port)
        await self.streams.listen(streams)
        self._datagrams.append(listen_on(self, datagrams))
        return int(datagrams.getsockname()[1])

    def swap(self, client_of: ClientOf, decide: Decide, upstreams: Upstreams | None = None) -> None:
        """A new snapshot: from the next datagram on only it counts."""
        self.clients.forget()
        self.clients.client_of = client_of
        self.resolver.swap(decide, upstreams)

    def forget_clients(self) -> None:
        """Devices or their rulesets may have changed: look everybody up anew."""
        self.clients.forget()

    def flush(self) -> None:
        """Report what was answered since the last report; done about once a second anyway."""
        self.clients.flush()

    async def close(self) -> None:
        self._timer.cancel()
        for listener in self._datagrams:
            listener.close()
        await self.streams.close()
        for task in self._misses:
            task.cancel()
        await asyncio.gather(*self._misses, return_exceptions=True)
        self.clients.flush()

    def replace(self, old: Listener, new: Listener) -> None:
        """A listener has given its socket to another."""
        self._datagrams[self._datagrams.index(old)] = new

    def count(self, name: str, *labels: str) -> None:
        self.counters[name, *labels] = self.counters.get((name, *labels), 0.0) + 1

    def miss(self, known: Known, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """Answer a query that the cache does not know: now, not at all, or by calling `later` once (`Later`)."""
        self.count("hedgerow_dns_cache_misses_total")
        client = known.client
        try:
            found = self.resolver.at_once(client.ruleset, client.device, data, transport)
        except Exception:
            return self._broken(data)
        if isinstance(found, Answer):
            return self._told(known, found)
        if len(self._misses) >= MAX_MISSES:
            self.count("hedgerow_dns_dropped_total", "overload")
            return None
        task = asyncio.get_running_loop().create_task(self._forward(known, found, data, later))
        self._misses.add(task)
        task.add_done_callback(self._misses.discard)
        return LATER

    async def _forward(self, known: Known, case: Case, data: bytes, later: Callable[[bytes | None], None]) -> None:
        try:
            message = self._told(known, await self.resolver.forward(case))
        except Exception:
            message = self._broken(data)
        later(message)

    def _told(self, known: Known, answer: Answer) -> bytes | None:
        """Tally an answer that is about to be sent."""
        if answer.entry is not None:
            self.clients.tally(known, answer.entry)
        if answer.message is None:
            self.count("hedgerow_dns_dropped_total", "malformed")
        return answer.message

    def _broken(self, data: bytes) -> bytes | None:
        log.exception("a query could not be answered")
        self.count("hedgerow_dns_dropped_total", "error")
        return answers.error(data, wire.SERVFAIL) if len(data) >= wire.HEADER else None

    def refuse(self, data: bytes) -> bytes | None:
        """What a client outside the network gets: never more than it sent, and nothing was looked up."""
        self.count("hedgerow_dns_dropped_total", "outside")
        if len(data) < wire.HEADER or data[2] & 0x80:
            return None
        return answers.error(data, wire.REFUSED)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(1.0, self._tick)
        now = self.resolver.clocks.steady()
        self.clients.keep_time(now)
        self.clients.flush()
        self.resolver.answers.sweep(now, _SWEEP_STEPS)
        self.resolver.resolutions.sweep(now, _SWEEP_STEPS)
        self.streams.close_idle(loop.time())


def open_pair(host: str, port: int, tries: int = 20) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port; where port 0 asks for any, one that is free for both. Raises OSError."""
    while True:
        datagrams = open_socket(host, port, socket.SOCK_DGRAM)
        try:
            return datagrams, open_socket(host, datagrams.getsockname()[1], socket.SOCK_STREAM)
        except OSError:
            datagrams.close()
            tries -= 1
            if port or not tries:
                raise


def open_socket(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A bound socket that shares its port with the other workers. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
