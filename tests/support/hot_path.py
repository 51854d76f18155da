"""Holds the path that answers from the cache without parsing against the one that parses: whatever the datagram, both
must say the same.

Used by hypothesis in `tests/dns/server/test_udp.py`, and by atheris, which is guided by coverage, on the command line
(it is not among the locked libraries: `pip install atheris`; a corpus of datagrams, one a file, may be named):

    .venv/bin/python tests/support/hot_path.py [-max_total_time=600] [FOLDER]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from struct import pack
from types import SimpleNamespace
from typing import Any, cast

from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server.listeners import DnsServer
from hedgerow.dns.server.reports import Client
from hedgerow.dns.server.responder import DROPPED_METRIC
from hedgerow.dns.server.udp import BatchUdpListener
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset

_SENDER = pack("=H", 2) + pack("!H", 5353) + bytes((127, 0, 0, 1)) + bytes(8)  # struct sockaddr_in


class _Rules:
    """What the resolver reads of a ruleset."""

    id, until, profile, trusts_ca, rules = 1, None, "child-8-12", False, SimpleNamespace(bypass=True)
    upstream: tuple[str, ...] = ()

    def limited_as(self, device: DeviceId) -> DeviceId:
        return device


def _decide(_ruleset: Ruleset, request: Request) -> Decision:
    """Blocks every host but those that begin like `allowed`; these are asked of upstreams, of which there are none."""
    return Decision(Verdict.ALLOW if request.host < "b" else Verdict.BLOCK, Reason.CATEGORY, "adult")


class OneServer:
    """A server whose system calls are replaced: one datagram goes in, and what would be sent comes out."""

    def __init__(self) -> None:
        resolver = Resolver(UpstreamPool(()), _decide, clocks=Clocks(lambda: 1000.0, lambda: 2000.0))
        client = Client(DeviceId("device"), cast(Ruleset, _Rules()))
        self._server = DnsServer(resolver, lambda _address: client, lambda *_: None)

    @property
    def hits(self) -> float:
        """The number of answers from the cache."""
        return self._server.responder.counters.get(("hedgerow_dns_cache_hits_total",), 0.0)

    async def start(self) -> None:
        await self._server.listen("127.0.0.1", 0)
        (listener,) = self._server._datagrams
        assert isinstance(listener, BatchUdpListener)
        self._listener, self._memory, self._sent = cast(Any, listener), listener._memory, list[bytes]()
        self._listener._recvmmsg, self._listener._sendmmsg = self._receive, self._send_hit
        self._listener._send_late = lambda _sender, message: self._sent.append(message)

    def feed(self, datagram: bytes) -> list[bytes | None]:
        """The answers to one datagram: one, or none."""
        self._datagram = datagram[:1232]
        self._sent.clear()
        self._listener._drain()
        assert (DROPPED_METRIC, "error") not in self._server.responder.counters, (
            f"{datagram.hex()} could not be answered"
        )
        return [answer for answer in self._sent if answer is not None]

    def send_in_parts(self, count: int, taken: list[int]) -> tuple[list[tuple[int, int]], float]:
        """Send so many answers, of which each call takes as many as `taken` says.

        Returns from which answer on and how many each call was asked to send, and how many could not be sent.
        """
        begin, calls, left = self._memory.headers_at, list[tuple[int, int]](), iter(taken)

        def send(_file: int, at: Any, hits: int, _flags: int) -> int:
            calls.append(((at.value - begin.value) // 64, hits))
            return next(left)

        self._listener._sendmmsg = send
        self._listener._send_batch(begin, count)
        return calls, self._server.responder.counters[DROPPED_METRIC, "send"]

    def forget(self) -> None:
        """Know nothing any more."""
        self._server.swap(lambda _address: Client(DeviceId("device"), cast(Ruleset, _Rules())), _decide)
        self._server.resolver.answers.suffixes["udp"].clear()

    def _receive(self, *_: object) -> int:
        self._memory.slots[: len(self._datagram)] = self._datagram
        self._memory.names[: len(_SENDER)] = _SENDER
        self._memory.headers[7] = len(self._datagram)
        return 1

    def _send_hit(self, *_: object) -> int:
        self._sent.append(bytes(self._memory.slots[: self._memory.iovecs[1]]))
        return 1

    async def stop(self) -> None:
        await self._server.close()


class HotPath:
    """Two servers: `warm` remembers what the datagrams of one check have taught it, `cold` forgets before each."""

    async def start(self) -> None:
        self.warm, self._cold = OneServer(), OneServer()
        await self.warm.start()
        await self._cold.start()

    def check(self, datagrams: list[bytes]) -> None:
        """Raises AssertionError where the cache makes a difference.

        Each is asked three times: the second time may meet the cache, the third what it has learnt of how the query is
        worded.
        """
        self.warm.forget()
        for datagram in datagrams:
            self._cold.forget()
            wanted = self._cold.feed(datagram)
            for _ in range(3):
                answer = self.warm.feed(datagram)
                assert answer == wanted, f"{datagram.hex()}: {answer} is not {wanted}"

    async def stop(self) -> None:
        await self.warm.stop()
        await self._cold.stop()


def split(data: bytes) -> Iterator[bytes]:
    """Several datagrams in one input: each begins with its length.

    The first octet of a length is left out, so that mutations fit.
    """
    while data:
        size = data[0]
        yield data[1 : 1 + size]
        data = data[1 + size :]


def main() -> None:
    import atheris

    both = HotPath()
    runner = asyncio.Runner()
    runner.run(both.start())
    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: both.check(list(split(data))))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
