"""Upstreams over UDP, with TCP for answers that do not fit.

Against spoofing there are a fresh random port for every few questions, random ids, connected sockets (the kernel drops
other senders), random spelling of names, and a check of the question in every answer (RFC 5452).
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
from hedgerow.dns.upstreams.datagrams import DatagramBatch
from hedgerow.dns.upstreams.in_flight import PendingIds, random_ids
from hedgerow.dns.upstreams.upstream import Channel, MessageCallback, UpstreamError, UpstreamQuestion, UpstreamSpec

_PORT_USES: Final = 64  # questions per source port
_MAX_PORTS: Final = 8
# answers in another spelling from an upstream that kept it before, until its behaviour has changed
_MAX_CASE_LOSSES: Final = 16


class _SourcePort:
    """A connected UDP socket with a source port that the kernel chose at random. `over` is called when it is given up.

    Questions that are asked in one turn of the loop leave together at its end.
    """

    def __init__(self, spec: UpstreamSpec, batch: DatagramBatch, over: Callable[[_SourcePort], None]) -> None:
        family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.waiting: PendingIds[_UdpQuery] = PendingIds()
        self.uses = 0
        self.outgoing: list[bytes] = []
        self._batch, self._over = batch, over
        try:
            self.socket.connect((spec.host, spec.port))
            asyncio.get_running_loop().add_reader(self.socket, self._drain)
        except OSError:
            self.socket.close()
            raise

    def send(self, message: bytes) -> None:
        if not self.outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self.outgoing.append(message)

    def _flush(self) -> None:
        messages, self.outgoing = self.outgoing, []
        if self.socket.fileno() >= 0:
            try:
                self._batch.send(self.socket, messages)
            except OSError as fault:  # often of an earlier question
                self.abandon(fault)

    def _drain(self) -> None:
        try:
            messages = self._batch.receive(self.socket)
        except OSError as fault:  # an ICMP error: nothing listens there
            self.abandon(fault)
            return
        questions = self.waiting.questions
        for message in messages:
            question = questions.get(int.from_bytes(message[:2]))
            if question is not None:
                question.deliver(message)

    def abandon(self, fault: OSError) -> None:
        """Use it no more: libuv's loops never look again at a socket that had an error."""
        self.uses = _PORT_USES
        self.waiting.fail(UpstreamError(str(fault)))
        self._over(self)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
            self.waiting.fail(UpstreamError("closed"))


class _UdpQuery:
    """One question in one datagram.

    It is repeated over TCP if the answer does not fit or may be forged, and without EDNS if the upstream does not know
    that.
    """

    __slots__ = ("ask", "callback", "channel", "number", "over", "port", "question", "stop")

    def __init__(
        self, channel: UdpChannel, port: _SourcePort, ask: UpstreamQuestion, written: bytes, callback: MessageCallback
    ) -> None:
        self.channel, self.port, self.ask, self.callback = channel, port, ask, callback
        self.question = written if channel.keeps_case else ask.question
        self.stop: Callable[[], None] | None = None
        self.over = False
        self.number = port.waiting.add(self)
        port.send(pack("!H", self.number) + ask.body_with(self.question))

    def deliver(self, message: bytes) -> None:
        ask, question, channel = self.ask, self.question, self.channel
        has_additional = message[10:12] != b"\0\0"
        if not has_additional and responses.refuses_edns(message) and not ask.without_edns:
            self._leave()
            self._ask_without_edns()
            return
        if not responses.answers_question(message, ask.question):
            return  # forged: the right one may still come
        self._leave()
        if channel.keeps_case and not message.startswith(question, wire.HEADER):
            self.stop = channel.stream.send(ask, question, self._on_case_checked)
        elif responses.is_truncated(message):
            self.stop = channel.stream.send(ask, question, self.callback)
        else:
            if has_additional:
                channel.knows_edns = True
            if question != ask.question:
                channel.on_case_preserved()
            self.callback(message)

    def fail(self, fault: Exception) -> None:
        if not self.over:
            self._leave()
            self.callback(fault)

    def cancel(self) -> None:
        self._leave()
        if self.stop is not None:
            self.stop()

    def _ask_without_edns(self) -> None:
        channel = self.channel
        try:
            self.stop = _UdpQuery(
                channel, channel.port(), self.ask._replace(without_edns=True), self.question, self._on_plain_answer
            ).cancel
        except OSError as fault:
            self.callback(fault)

    def _on_plain_answer(self, message: bytes | Exception) -> None:
        if isinstance(message, bytes) and not responses.refuses_edns(message) and self.channel.knows_edns is None:
            self.channel.knows_edns = False  # one that has shown before that it knows EDNS did not send this
        self.callback(message)

    def _on_case_checked(self, message: bytes | Exception) -> None:
        if isinstance(message, bytes):
            self.channel.on_case_lost()
        self.callback(message)

    def _leave(self) -> None:
        if not self.over:
            self.over = True
            port = self.port
            del port.waiting.questions[self.number]
            if port.uses >= _PORT_USES:
                self.channel.left(port)


class UdpChannel:
    """A channel over UDP, with names in random spelling ("0x20") as long as the upstream keeps it."""

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
        self._latest: _SourcePort | None = None
        self._batch = DatagramBatch()
        self._random = random_ids()

    def send(self, ask: UpstreamQuestion, written: bytes, callback: MessageCallback) -> Callable[[], None]:
        if self.knows_edns is False:
            ask = ask._replace(without_edns=True)
        return _UdpQuery(self, self.port(), ask, written, callback).cancel

    async def close(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            port.close()
        await self.stream.close()

    def on_case_preserved(self) -> None:
        self._most_lost, self._lost = _MAX_CASE_LOSSES, 0

    def on_case_lost(self) -> None:
        """Note an answer in another spelling that was confirmed over TCP.

        Either the upstream itself changes the spelling, or somebody guessed at an answer of one that kept it before:
        then one guess must not end the protection against the next ones.
        """
        self._lost += 1
        if self._lost > self._most_lost:
            self.keeps_case = False

    def left(self, port: _SourcePort) -> None:
        """Handle the end of a question of this port. A port that is used up is closed with its last question."""
        if port.uses >= _PORT_USES and not port.waiting.questions and port in self._ports:
            self._ports.remove(port)
            port.close()

    def port(self) -> _SourcePort:
        """Return a port for the next question: that of others that leave at the same moment, else one at random."""
        ports = self._ports
        if self._latest is not None and self._latest.outgoing and self._latest.uses < _PORT_USES:
            self._latest.uses += 1
            return self._latest
        if len(ports) >= _MAX_PORTS:
            start = next(self._random)
            for index in range(len(ports)):
                port = ports[(start + index) % len(ports)]
                if port.uses < _PORT_USES:
                    port.uses += 1
                    self._latest = port
                    return port
        port = self._latest = _SourcePort(self._spec, self._batch, self.left)
        port.uses = 1
        ports.append(port)
        return port
