"""The sockets of a DNS server for UDP and TCP, and its periodic work."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from hedgerow.dns.answer_policy import AnswerPolicy, Decide
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server.admission import Admit
from hedgerow.dns.server.clients import ClientLookup
from hedgerow.dns.server.reports import Observe
from hedgerow.dns.server.responder import Responder
from hedgerow.dns.server.stream import StreamServer
from hedgerow.dns.server.udp import UdpListener, open_udp_listener
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.policies.network import QueryLimit
from hedgerow.sockets import open_socket, open_udp_socket
from hedgerow.ticks import seconds_to_tick

_SWEEP_STEPS: Final = 250
_REPORT_INTERVAL: Final = 0.002  # seconds between two calls of `_report`


class DnsServer:
    """All listeners of one worker, over one resolver. Create and use it in a running event loop."""

    def __init__(
        self, resolver: Resolver, find_client: ClientLookup, observe: Observe, admit: Admit | None = None
    ) -> None:
        self.resolver = resolver
        self.responder = Responder(resolver, find_client, observe, admit)
        self.streams = StreamServer(self.responder)
        self._clients = self.responder.clients
        self._datagrams: list[UdpListener] = []
        self._timer = asyncio.get_running_loop().call_later(seconds_to_tick(1.0), self._tick)
        self._reporting: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Serve UDP and TCP at an address. Port 0 takes a free one. Returns the port. Raises OSError."""
        return await self.serve(*open_udp_tcp_pair(host, port))

    async def serve(self, datagrams: socket.socket, streams: socket.socket) -> int:
        """Serve on bound sockets for UDP and TCP, which the server closes. Returns the port."""
        await self.streams.listen(streams)
        self._datagrams.append(open_udp_listener(self.responder, datagrams))
        return int(datagrams.getsockname()[1])

    def swap(
        self,
        find_client: ClientLookup,
        decide: Decide,
        upstreams: UpstreamPool | None = None,
        answer_policy: AnswerPolicy | None = None,
    ) -> None:
        """Use a new snapshot from the next datagram on."""
        self._clients.forget()
        self._clients.find_client = find_client
        self.resolver.swap(decide, upstreams, answer_policy)

    def limit(self, limit: QueryLimit | None) -> None:
        """Set the rate limit; None: no limit."""
        self._clients.limits.change(limit)
        self._clients.forget()

    def forget_clients(self) -> None:
        """Look up all clients again, since devices or rulesets may have changed."""
        self._clients.forget()

    def flush(self) -> None:
        """Report the answers since the last report. This happens about once per second anyway."""
        self._clients.flush()

    async def close(self) -> None:
        self._timer.cancel()
        if self._reporting is not None:
            self._reporting.cancel()
        for listener in self._datagrams:
            listener.close()
        await self.streams.close()
        self._clients.flush()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds_to_tick(1.0), self._tick)
        now = self.resolver.clocks.steady()
        self._clients.forget_expired(now)
        self._clients.begin_report()
        if self._reporting is None:
            self._report()
        self._clients.limits.refill()
        self.resolver.answers.sweep(now, _SWEEP_STEPS)
        self.resolver.resolutions.sweep(now, _SWEEP_STEPS)
        self.streams.table.close_idle(loop.time())

    def _report(self) -> None:
        """Make a few reports at a time: those of a busy second would delay queries by thirty milliseconds."""
        self._reporting = None
        more = self._clients.reports.report_some()
        self._reporting = asyncio.get_running_loop().call_later(_REPORT_INTERVAL, self._report) if more else None


def open_udp_tcp_pair(host: str, port: int, tries: int = 20) -> tuple[socket.socket, socket.socket]:
    """Return UDP and TCP sockets on one port. Port 0 takes one that is free for both. Raises OSError."""
    while True:
        datagrams = open_udp_socket(host, port)
        try:
            return datagrams, open_socket(host, datagrams.getsockname()[1], socket.SOCK_STREAM)
        except OSError:
            datagrams.close()
            tries -= 1
            if port or not tries:
                raise
