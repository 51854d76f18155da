"""The channel to an upstream over UDP, with TCP where an answer does not fit.

Spoofing is met with a fresh random port for every few questions, random ids, sockets that are connected (the kernel drops other senders),
random letters, and the question checked in every answer (RFC 5452).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import Final

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.in_flight import PendingIds, random_ids
from hedgerow.dns.upstreams.upstream import Channel, MessageCallback, UpstreamError, UpstreamQuestion, UpstreamSpec

_PORT_USES: Final = 64  # questions that share a source port before it is given up
_MAX_PORTS: Final = 8
_READS_PER_WAKEUP: Final = 64
_MAX_CASE_LOSSES: Final = 16  # answers in other letters from an upstream that gave them back before, until it is believed to have changed


class _SourcePort:
    """One connected UDP socket with a source port that the kernel picked at random. `over` is told when it was given up."""

    def __init__(self, spec: UpstreamSpec, over: Callable[[_SourcePort], None]) -> None:
        family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.waiting: PendingIds[_UdpQuery] = PendingIds()
        self.uses = 0
        self._over = over
        try:
            self.socket.connect((spec.host, spec.port))
            asyncio.get_running_loop().add_reader(self.socket, self._drain)
        except OSError:
            self.socket.close()
            raise

    def _drain(self) -> None:
        questions = self.waiting.questions
        for _ in range(_READS_PER_WAKEUP):
            try:
                message = self.socket.recv(4096)
            except BlockingIOError:
                return
            except OSError as fault:  # an ICMP error: nobody listens there
                self.abandon(fault)
                return
            question = questions.get(int.from_bytes(message[:2]))
            if question is not None:
                question.deliver(message)
            if not questions:
                return

    def abandon(self, fault: OSError) -> None:
        """Nothing goes over it any more: libuv's loops never again look at a socket that had an error once."""
        self.uses = _PORT_USES
        self.waiting.fail(UpstreamError(str(fault)))
        self._over(self)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
            self.waiting.fail(UpstreamError("closed"))


class _UdpQuery:
    """One question in one datagram; if the answer does not fit, or cannot be told from a forged one, once more over the stream; if the
    upstream does not know EDNS, once more without.
    """

    __slots__ = ("ask", "channel", "number", "over", "port", "question", "stop", "told")

    def __init__(self, channel: UdpChannel, port: _SourcePort, ask: UpstreamQuestion, written: bytes, told: MessageCallback) -> None:
        self.channel, self.port, self.ask, self.told = channel, port, ask, told
        self.question = written if channel.keeps_case else ask.question
        self.stop: Callable[[], None] | None = None
        self.over = False
        self.number = port.waiting.add(self)
        try:
            port.socket.send(pack("!H", self.number) + ask.body_with(self.question))
        except OSError as fault:  # of a question before this one, as often as not
            self._leave()
            port.abandon(fault)
            raise

    def deliver(self, message: bytes) -> None:
        if responses.refuses_edns(message) and not self.ask.without_edns:
            self._leave()
            self._ask_bare()
            return
        if not responses.answers_question(message, self.ask.question):
            return  # somebody's guess: the right one may still come
        end = wire.HEADER + len(self.question)
        if message[wire.HEADER : end] != self.question and self.channel.keeps_case:
            self._leave()
            self.stop = self.channel.stream.send(self.ask, self.question, self._told_about_case)
        elif responses.is_truncated(message):
            self._leave()
            self.stop = self.channel.stream.send(self.ask, self.question, self.told)
        else:
            self._leave()
            if message[10:12] != b"\0\0":
                self.channel.knows_edns = True
            if self.question != self.ask.question:
                self.channel.on_case_preserved()
            self.told(message)

    def fail(self, fault: Exception) -> None:
        if not self.over:
            self._leave()
            self.told(fault)

    def cancel(self) -> None:
        self._leave()
        if self.stop is not None:
            self.stop()

    def _ask_bare(self) -> None:
        channel = self.channel
        try:
            self.stop = _UdpQuery(channel, channel.port(), self.ask._replace(without_edns=True), self.question, self._told_bare).cancel
        except OSError as fault:
            self.told(fault)

    def _told_bare(self, message: bytes | Exception) -> None:
        if isinstance(message, bytes) and not responses.refuses_edns(message) and self.channel.knows_edns is None:
            self.channel.knows_edns = False  # who has shown before that it does has not forgotten it: somebody has guessed at an answer
        self.told(message)

    def _told_about_case(self, message: bytes | Exception) -> None:
        if isinstance(message, bytes):
            self.channel.on_case_lost()
        self.told(message)

    def _leave(self) -> None:
        if not self.over:
            self.over = True
            del self.port.waiting.questions[self.number]
            self.channel.left(self.port)


class UdpChannel:
    """Datagrams, each in random letters ("0x20") as long as the upstream gives them back as they are."""

    accepts_late_answers = True

    def __init__(self, spec: UpstreamSpec, stream: Channel) -> None:
        self.name = str(spec)
        self.secure = ip_address(spec.host.partition("%")[0]).is_loopback
        self.stream = stream
        self.keeps_case = True
        self.knows_edns: bool | None = None  # not yet known
        self._most_lost, self._lost = 0, 0
        self._spec = spec
        self._ports: list[_SourcePort] = []
        self._random = random_ids()

    def send(self, ask: UpstreamQuestion, written: bytes, told: MessageCallback) -> Callable[[], None]:
        if self.knows_edns is False:
            ask = ask._replace(without_edns=True)
        return _UdpQuery(self, self.port(), ask, written, told).cancel

    async def close(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            port.close()
        await self.stream.close()

    def on_case_preserved(self) -> None:
        self._most_lost, self._lost = _MAX_CASE_LOSSES, 0

    def on_case_lost(self) -> None:
        """The upstream does answer over the stream, so it was itself that changed the letters; or somebody has guessed at an answer, where
        it gave them back before: then one guess must not do away with what makes the next ones harder.
        """
        self._lost += 1
        if self._lost > self._most_lost:
            self.keeps_case = False

    def left(self, port: _SourcePort) -> None:
        """A question of this port is over; a port that has served its time goes with its last question."""
        if port.uses >= _PORT_USES and not port.waiting.questions and port in self._ports:
            self._ports.remove(port)
            port.close()

    def port(self) -> _SourcePort:
        """One for the next question."""
        ports = self._ports
        if len(ports) >= _MAX_PORTS:
            start = next(self._random)
            for index in range(len(ports)):
                port = ports[(start + index) % len(ports)]
                if port.uses < _PORT_USES:
                    port.uses += 1
                    return port
        port = _SourcePort(self._spec, self.left)
        port.uses = 1
        ports.append(port)
        return port
