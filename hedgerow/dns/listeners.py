"""The sockets that clients talk to: UDP and TCP, and the path of a query that is answered from the cache."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.clients import ClientOf, Clients, Known, Observe
from hedgerow.dns.datagrams import Listener, listen_on
from hedgerow.dns.inquiries import Upstreams
from hedgerow.dns.later import LATER, Later
from hedgerow.dns.limits import MAX_WAITING_OF_ONE
from hedgerow.dns.resolver import Answer, Resolver
from hedgerow.dns.rulings import Circumstances, Decide
from hedgerow.dns.series import Histogram
from hedgerow.dns.streams import StreamServer
from hedgerow.policies.resolver_settings import QueryLimit

log = logging.getLogger(__name__)

MAX_MISSES: Final = 4096  # queries of one worker that wait for upstreams; what comes on top is dropped and asked again
_SOCKET_BUFFER: Final = 4 << 20
# Answers are never fragmented, and no ICMP message talks us into it (RFC 9715): IP_MTU_DISCOVER and IPV6_MTU_DISCOVER are PROBE. The kernel
# then needs no random identification for each datagram either. Python has no names for these of linux/in.h and linux/in6.h.
_NEVER_FRAGMENT: Final = {socket.AF_INET: (socket.IPPROTO_IP, 10, 3), socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 3)}
_SWEEP_STEPS: Final = 250
_REPORT_PAUSE: Final = 0.003  # seconds between a few reports and the next few
_HITS: Final = ("hedgerow_dns_cache_hits_total",)
_MISSES: Final = ("hedgerow_dns_cache_misses_total",)
SECONDS_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""


type Counters = dict[tuple[str, ...], float]


class Server:
    """All listeners of one worker over one resolver. Made and used inside a running event loop."""

    def __init__(self, resolver: Resolver, client_of: ClientOf, observe: Observe) -> None:
        self.resolver = resolver
        self.counters: Counters = {}
        self.clients = Clients(client_of, resolver.prefix, observe, self.counters, resolver.clocks, resolver.renew)
        self.streams = StreamServer(self)
        self._datagrams: list[Listener] = []
        self._waiting = 0
        self._hit_seconds = Histogram("hedgerow_dns_answer_seconds", ("hit",), SECONDS_BUCKETS)
        self._miss_seconds = Histogram("hedgerow_dns_answer_seconds", ("miss",), SECONDS_BUCKETS)
        self._timer = asyncio.get_running_loop().call_later(1.0, self._tick)
        self._reporting: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Serve UDP and TCP at an address; port 0 takes a free one. Returns the port. Raises OSError."""
        datagrams, streams = open_pair(host, port)
        await self.streams.listen(streams)
        self._datagrams.append(listen_on(self, datagrams))
        return int(datagrams.getsockname()[1])

    def swap(
        self,
        client_of: ClientOf,
        decide: Decide,
        upstreams: Upstreams | None = None,
        circumstances: Circumstances | None = None,
    ) -> None:
        """A new snapshot: from the next datagram on only it counts."""
        self.clients.forget()
        self.clients.client_of = client_of
        self.resolver.swap(decide, upstreams, circumstances)

    def limit(self, limit: QueryLimit | None) -> None:
        """How much may be asked from now on; None: any number."""
        self.clients.limits.change(limit)
        self.clients.forget()

    def forget_clients(self) -> None:
        """Devices or their rulesets may have changed: look everybody up anew."""
        self.clients.forget()

    def flush(self) -> None:
        """Report what was answered since the last report; done about once a second anyway."""
        self.clients.flush()

    async def close(self) -> None:
        self._timer.cancel()
        if self._reporting is not None:
            self._reporting.cancel()
        for listener in self._datagrams:
            listener.close()
        await self.streams.close()
        self.clients.flush()

    def replace(self, old: Listener, new: Listener) -> None:
        """A listener has given its socket to another."""
        self._datagrams[self._datagrams.index(old)] = new

    def count(self, name: str, *labels: str) -> None:
        self.counters[name, *labels] = self.counters.get((name, *labels), 0.0) + 1

    def hit_seconds(self, seconds: float, count: int) -> None:
        """So many answers from the cache took at most so long."""
        self._hit_seconds.observe(seconds, count)
        self.counters[_HITS] = self.counters.get(_HITS, 0.0) + count

    def all_counters(self) -> Counters:
        """Everything that is counted, histograms too."""
        return {**self.counters, **self._hit_seconds.counters(), **self._miss_seconds.counters()}

    def admits(self, known: Known) -> bool:
        """May this client have another answer? Counts it. The datagram listeners do the same by themselves."""
        bucket, limits = known.bucket, self.clients.limits
        if bucket is limits.free:
            return True
        if bucket.left <= 0 or limits.total.left <= 0:
            self.count("hedgerow_dns_dropped_total", "limit")
            return False
        bucket.left -= 1
        limits.total.left -= 1
        return True

    def miss(self, known: Known, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """Answer a query that the cache does not know: now, not at all, or by calling `later` once (`Later`)."""
        self.counters[_MISSES] = self.counters.get(_MISSES, 0.0) + 1
        began = self.resolver.clocks.steady()
        client = known.client
        try:
            found = self.resolver.at_once(client.ruleset, client.device, data, transport)
        except Exception:
            return self._broken(data)
        if isinstance(found, Answer):
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            return self._told(known, found)
        bucket = known.bucket
        if self._waiting >= MAX_MISSES or bucket.waiting >= MAX_WAITING_OF_ONE:
            self.count("hedgerow_dns_dropped_total", "overload")
            return None
        self._waiting += 1
        bucket.waiting += 1

        def done(answer: Answer) -> None:
            self._waiting -= 1
            bucket.waiting -= 1
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            later(self._told(known, answer))

        self.resolver.forward(found, done)
        return LATER

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
        """What a client outside the network gets: never more than it sent, and nothing was looked up; in a flood, nothing."""
        self.count("hedgerow_dns_dropped_total", "outside")
        strangers = self.clients.limits.strangers
        strangers.left -= 1
        if strangers.left < 0 or len(data) < wire.HEADER or data[2] & 0x80:
            return None
        return answers.error(data, wire.REFUSED)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(1.0, self._tick)
        now = self.resolver.clocks.steady()
        self.clients.keep_time(now)
        self.clients.begin_report()
        if self._reporting is None:
            self._report()
        self.clients.limits.refill()
        self.resolver.answers.sweep(now, _SWEEP_STEPS)
        self.resolver.resolutions.sweep(now, _SWEEP_STEPS)
        self.streams.close_idle(loop.time())

    def _report(self) -> None:
        """A few reports at a time: those of a busy second would take thirty milliseconds, and queries would wait as long."""
        more = self.clients.report_some()
        self._reporting = asyncio.get_running_loop().call_later(_REPORT_PAUSE, self._report) if more else None


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
            _widen(sock)
            if sys.platform == "linux":
                sock.setsockopt(*_NEVER_FRAGMENT[family])
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _widen(sock: socket.socket) -> None:
    """Let a burst of queries wait in the kernel, by as much as the system allows; with CAP_NET_ADMIN (SO_RCVBUFFORCE) by all we ask for."""
    for option, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, forced, _SOCKET_BUFFER)
