"""What users do while things break: names over UDP at a steady rate, and pages through the proxy by curl, each answer
checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import dnslib
from small_internet.background import BackgroundLoop, background_loop
from small_internet.clients import Address, curl

PATIENCE_S = 5.0
"""Seconds after which a query counts as lost. Stub resolvers ask again before; these users never do."""
_SOCKETS = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A name that a device at `source` asks for.

    `answers` are the addresses that it may get; an empty set means: blocked.
    """

    source: str
    name: str
    answers: frozenset[str]


@dataclass
class Loss:
    """Counts of queries or pages. `longest_gap` is the longest time between two answers, in seconds."""

    asked: int = 0
    lost: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_gap: float = 0.0

    @property
    def lost_percent(self) -> float:
        return 100 * (self.lost + self.failed) / self.asked if self.asked else 0.0


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._received(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens at the port: the query counts as lost once its patience is over."""


class DnsUsers:
    """Asks `questions` in turn, `rate` per second, on sockets of each source.

    `take` returns the counts since the last call.

    Sources in `paused` may find everything closed.
    """

    def __init__(
        self, loop: BackgroundLoop, server: Address, questions: Sequence[Question], rate: float, paused: Set[str]
    ) -> None:
        self._loop, self._server, self._rate, self._paused = loop, server, rate, paused
        self._questions = itertools.cycle(questions)
        self._sources = sorted({each.source for each in questions})
        self._transports: dict[str, list[asyncio.DatagramTransport]] = {}
        self._ids = itertools.cycle(range(1 << 16))
        self._waiting: dict[int, tuple[Question, float]] = {}
        self._loss, self._last = Loss(), time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for source in self._sources:
            self._transports[source] = [
                (await loop.create_datagram_endpoint(lambda: _Socket(self._receive), (source, 0), self._server))[0]
                for _ in range(_SOCKETS)
            ]
        self._last = time.monotonic()
        self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for transport in itertools.chain.from_iterable(self._transports.values()):
            transport.close()

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            due += 1 / self._rate
            self._ask(next(self._questions))
            self._forget(time.monotonic())
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            elif pause < -1:
                due = time.monotonic()  # this machine was too busy: never ask in bursts

    def _ask(self, question: Question) -> None:
        number = next(self._ids)
        transports = self._transports[question.source]
        query = dnslib.DNSRecord(dnslib.DNSHeader(id=number, rd=1), q=dnslib.DNSQuestion(question.name))
        self._waiting[number] = (question, time.monotonic())
        transports[number % len(transports)].sendto(query.pack())
        self._loss.asked += 1

    def _forget(self, now: float) -> None:
        """Count those whose patience is over; the oldest come first."""
        while self._waiting:
            number, (_, asked) = next(iter(self._waiting.items()))
            if now - asked < PATIENCE_S:
                return
            del self._waiting[number]
            self._loss.lost += 1

    def _receive(self, data: bytes) -> None:
        found = self._waiting.pop(struct.unpack_from("!H", data)[0], None)
        now = time.monotonic()
        self._loss.longest_gap = max(self._loss.longest_gap, now - self._last)
        self._last = now
        if found is None:
            return
        problem = _judge(found[0], dnslib.DNSRecord.parse(data), may_be_closed=found[0].source in self._paused)
        if problem == "failed":
            self._loss.failed += 1
        elif problem:
            self._loss.wrong.append(problem)

    def take(self, patience: float = PATIENCE_S + 0.5) -> Loss:
        """Wait until all queries so far are answered or lost, and return the counts since the last call."""
        deadline = time.monotonic() + patience
        asked_before = time.monotonic()
        while time.monotonic() < deadline and self._loop.call(
            lambda: any(asked < asked_before for _, asked in self._waiting.values())
        ):
            time.sleep(0.05)

        def swap() -> Loss:
            loss, self._loss = self._loss, Loss()
            loss.longest_gap = max(loss.longest_gap, time.monotonic() - self._last)
            return loss

        return self._loop.call(swap)


def _judge(question: Question, answer: dnslib.DNSRecord, *, may_be_closed: bool) -> str:
    """Return "" for a right answer, "failed" for an error of the server, else what is wrong."""
    if answer.header.rcode in (dnslib.RCODE.SERVFAIL, dnslib.RCODE.REFUSED):
        return "failed"
    addresses = {str(record.rdata) for record in answer.rr if record.rtype == dnslib.QTYPE.A}
    is_blocked = addresses <= {"0.0.0.0"}
    if not question.answers and not is_blocked:
        return f"{question.source} got {sorted(addresses)} for {question.name}, which is blocked there"
    if question.answers and not (addresses and addresses <= question.answers) and not (may_be_closed and is_blocked):
        return f"{question.source} got {sorted(addresses)} for {question.name}, which is {sorted(question.answers)}"
    return ""


@contextlib.contextmanager
def dns_users(server: Address, questions: Sequence[Question], rate: float, paused: Set[str]) -> Iterator[DnsUsers]:
    """Users that ask while the block runs."""
    with background_loop("dns users") as loop:
        users = DnsUsers(loop, server, questions, rate, paused)
        loop.run(users.start())
        try:
            yield users
        finally:
            loop.run(users.stop())


@dataclass(frozen=True, slots=True)
class Page:
    """A page that a device opens through the proxy. `status` is what it must get; 403 means: blocked."""

    source: str
    url: str
    status: int
    ca: Path | None = None


class PageUsers(threading.Thread):
    """Opens `pages` one after the other with curl, each with up to 10 s.

    Sources in `paused` may be refused. End it with `stop`.
    """

    def __init__(self, proxy: Address, pages: Sequence[Page], pause: float, paused: Set[str]) -> None:
        super().__init__(daemon=True)
        self._proxy, self._pages, self._pause, self._paused = proxy, itertools.cycle(pages), pause, paused
        self._loss, self._last = Loss(), time.monotonic()
        self._guard, self._done = threading.Lock(), threading.Event()

    def run(self) -> None:
        while not self._done.wait(self._pause):
            page = next(self._pages)
            answer = curl(
                page.url, proxy=self._proxy, source=page.source, ca=page.ca, insecure=page.ca is None, timeout=10
            )
            refused = answer.connect_status if answer.connect_status >= 400 else 0
            status = answer.status or refused
            now = time.monotonic()
            with self._guard:
                self._loss.asked += 1
                if status == page.status or (status == 403 and page.source in self._paused):
                    self._loss.longest_gap = max(self._loss.longest_gap, now - self._last)
                    self._last = now
                elif page.status == 403 and status == 200:
                    self._loss.wrong.append(f"{page.source} opened {page.url}, which is blocked there")
                else:
                    self._loss.lost += 1

    def take(self) -> Loss:
        """Return the counts since the last call."""
        with self._guard:
            loss, self._loss = self._loss, Loss()
            loss.longest_gap = max(loss.longest_gap, time.monotonic() - self._last)
            return loss

    def stop(self) -> None:
        self._done.set()
        self.join(20)


def free_port() -> int:
    """Return a free port for UDP and TCP that the kernel gives to no client, so that it stays free over restarts."""
    while True:
        port = random.randrange(18000, 32000)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket() as streams,
        ):
            datagrams.bind(("127.0.0.1", port))
            streams.bind(("127.0.0.1", port))
            return port
