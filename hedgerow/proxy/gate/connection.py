"""One client connection at the gate, from its first byte until it is refused or becomes a tunnel: what all kinds of them share.

The state is which method takes the next bytes: `_read_head`, `_read_hello`, `_store` while something is being dialled, `_discard`
after a refusal. `explicit.py` and `transparent.py` say what a head and a ClientHello mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.privacy import is_private_search
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.client_hello import ACCESS_DENIED_ALERT, ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.connections import dial
from hedgerow.proxy.gate.context import GateContext
from hedgerow.proxy.gate.tunnel import Tunnel, TunnelEnd
from hedgerow.proxy.handover import HandoverHeader, encode_handover_header
from hedgerow.proxy.http_head import Authority, HeadError, HeadReader, RequestHead
from hedgerow.proxy.page_forms import issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm, response_form
from hedgerow.proxy.policy import ProxyPolicy, strictest

log = logging.getLogger(__name__)

_MAX_DISCARDED = 64 * 1024 * 1024
"""Bytes of a blocked upload that are taken in: browsers read the answer to what they send when they have sent it."""

_DISCARD_BYTES_PER_DEADLINE = 1024 * 1024
"""Bytes of it for which a client gets the time of a head."""

_HANDOVER_RETRY_SECONDS = 0.003
"""Until inspectors that had no room for another connection are asked again."""


def _ignore(data: bytes) -> None:
    """What an ended connection does. It holds nothing of the connection, which the collector of cycles would have to find then."""


class GateConnection(asyncio.Protocol):
    """Reads the client's first words and acts on them. `device` is who it was when the connection came."""

    __slots__ = (
        "_device",
        "_discarded",
        "_first",
        "_gate",
        "_head",
        "_hello",
        "_is_gone",
        "_opening_policy",
        "_reader",
        "_receive",
        "_ruleset",
        "_target",
        "_task",
        "_transport",
        "address",
        "device",
    )

    def __init__(self, gate: GateContext) -> None:
        self.address = ""
        self.device = DeviceId("")
        self._gate = gate
        self._reader = HeadReader()
        self._hello = HelloReader()
        self._head: RequestHead | None = None
        self._first = b""  # what the client sent after the head of its CONNECT
        self._discarded = 0
        self._is_gone = False
        self._task: asyncio.Task[None] | None = None
        self._receive: Callable[[bytes], None] = self._discard
        self._transport: asyncio.Transport
        self._opening_policy: ProxyPolicy
        self._device: Device
        self._ruleset: Ruleset
        self._target: Authority

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.address = peer[0].partition("%")[0] if peer else ""
        if self._gate.register(self):
            self._gate.start_read_deadline(self)
        else:
            self._is_gone = True
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except HeadError as error:
            self._gate.drop("head")
            self._refuse(self._gate.policy.page.error(error.status, str(error)))
        except HelloError:
            self._gate.drop("hello")
            self.abort()
        except Exception:
            log.exception("a connection failed at the gate")
            self.abort()

    def eof_received(self) -> bool:
        """A client that ends before it has said what it wants has nothing to wait for; one whose tunnel is being made may have."""
        return self._receive == self._buffer

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._receive = _ignore
        if self._is_gone:
            return
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()
        self._gate.unregister(self)

    # What the gate asks of it.

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What goes on while the client waits."""
        return self._task

    def abort(self) -> None:
        self._transport.abort()

    def expire_read(self) -> None:
        """The time for what is being read is over."""
        if self._receive == self._read_head:
            self._refuse(self._gate.policy.page.error(408, "the request took too long"))
        else:
            self.abort()

    def expire_dial(self) -> None:
        """The time for reaching the server is over."""
        if self._task is not None:
            self._task.cancel()
        self._fail("dial")

    # The states.

    def _read_head(self, data: bytes) -> None:
        head = self._reader.feed(data)
        if head is None:
            return
        self._head = head
        if self._look_up():
            self._on_head(head)

    def _read_hello(self, data: bytes) -> None:
        self._first += data
        if looks_like_tls(self._first) is False:
            self._on_non_tls()
            return
        hello = self._hello.feed(data)
        if hello is not None and self._look_up():
            self._on_hello(hello)

    def _buffer(self, data: bytes) -> None:
        """Few clients go on before they are answered, so reading stops only then: stopping and starting costs more than the rest here."""
        self._first += data
        self._transport.pause_reading()

    def _discard(self, data: bytes) -> None:
        """Take in what is still on its way, or the kernel would answer it with a reset that overtakes the refusal."""
        before, self._discarded = self._discarded, self._discarded + len(data)
        # Who never said what he sends gets no more patience than for a head.
        if self._discarded > (_DISCARD_BYTES_PER_DEADLINE if self._head is None else _MAX_DISCARDED):
            self.abort()
        elif before // _DISCARD_BYTES_PER_DEADLINE != self._discarded // _DISCARD_BYTES_PER_DEADLINE:
            self._gate.start_read_deadline(self)

    # What each kind of connection makes of what it reads.

    def _on_head(self, head: RequestHead) -> None:
        raise NotImplementedError

    def _on_hello(self, hello: ClientHello) -> None:
        raise NotImplementedError

    def _on_non_tls(self) -> None:
        """What came where a ClientHello might have, and is none."""
        raise NotImplementedError

    # Lanes.

    def _choose_lane(self, requests: tuple[Request, ...], known: Decision | None = None, *, shows_page: bool = False) -> None:
        """Judge all that a TLS connection says it wants, and go on as that demands. `known` is what was decided on the one request."""
        if known is None:
            decide, ruleset = self._gate.decide, self._ruleset
            judged = [(each, decide(ruleset, each)) for each in requests]
            request, decision = strictest(judged)
            held = [each for each in judged if each[1].target]
            if held and decision.verdict in {Verdict.ALLOW, Verdict.REWRITE}:
                request, decision = held[-1]  # whoever hears an engine's name must be its safe twin, whatever the name outside
                self._target = Authority(request.host, self._target.port)
        else:
            request, decision = requests[0], known
        match decision.verdict:
            case Verdict.BLOCK if shows_page and self._can_inspect():
                self._inspect(Verdict.BLOCK)
            case Verdict.BLOCK:
                self._record("refuse", request, decision)
                self._refuse_tls()
            case Verdict.INSPECT:
                self._inspect(Verdict.INSPECT)
            case Verdict.ALLOW | Verdict.REWRITE:
                self._record("tunnel", request, decision)
                self._start(self._open_tunnel(requests))

    def _inspect(self, verdict: Verdict, *, lane: str = "inspect", awaits_reply: bool = False) -> None:
        """An inspector goes on with what the client has said; a client that `waits` is told by it that its CONNECT leads somewhere."""
        self._gate.counters.add("hedgerow_proxy_connections_total", lane, verdict.value)
        self._send_to_inspector(HandoverHeader(self.address, self._target, awaits_reply), is_promised=lane != "http" and not awaits_reply)

    def _send_to_inspector(self, header: HandoverHeader, head: bytes = b"", *, is_promised: bool = False) -> None:
        """Hand the connection over; `head` is said in place of what the gate has read of it, before what the client said then."""
        message = encode_handover_header(self._gate.key, header, self._gate.clock()) + head
        try:
            if not self._hand_over(message):
                self._start(self._wait_for_inspector(message, is_promised=is_promised))
        except OSError:
            self._fail("dial", is_promised=is_promised)

    def _hand_over(self, message: bytes) -> bool:
        """Whether the connection is an inspector's now. What we said ourselves must be sent before."""
        if self._transport.get_write_buffer_size():
            return False
        if not self._gate.hand_over(self._transport.get_extra_info("socket").fileno(), message + self._first):
            return False
        self._is_gone = True
        self._gate.unregister(self)
        self._transport.abort()
        return True

    async def _wait_for_inspector(self, message: bytes, *, is_promised: bool) -> None:
        try:
            while not self._transport.is_closing() and not self._hand_over(message):  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(_HANDOVER_RETRY_SECONDS)
        except OSError:
            self._fail("dial", is_promised=is_promised)

    # Dialling.

    def _start(self, opening: Coroutine[Any, Any, None]) -> None:
        self._gate.start_dial_deadline(self)
        self._opening_policy = self._gate.policy
        self._receive = self._buffer
        # Begun at once, and not in the loop's next round: names are known and servers are near, mostly.
        self._task = asyncio.Task(self._open(opening), loop=asyncio.get_running_loop(), eager_start=True)

    async def _open(self, opening: Coroutine[Any, Any, None]) -> None:
        try:
            await opening
        except Exception:
            log.exception("a connection could not be opened")
            self.abort()

    async def _open_tunnel(self, requests: tuple[Request, ...]) -> None:
        gate, target = self._gate, self._target
        addresses: tuple[str, ...] = (target.host,)
        if not is_address(target.host):
            try:
                resolved = await gate.addresses(self._ruleset, self.device, target.host)
            except Exception:
                log.exception("the resolver failed")
                return self._fail("resolve")
            if resolved.decision.verdict is Verdict.BLOCK:
                self._record("refuse", requests[0], resolved.decision)
                return self._refuse_tls()
            addresses = gate.policy.guard.allowed(resolved.addresses)
            if resolved.addresses and not addresses:
                gate.drop("destination")
                return self._refuse_tls()
        tunnel = Tunnel(gate, self.address, self._ruleset, requests, self._transport)
        try:
            transport, server = await dial(lambda: TunnelEnd.towards_server(tunnel), addresses, target.port)
        except OSError:
            return self._fail("dial")
        if self._is_gone or self._transport.is_closing() or server.closed:
            transport.abort()
            return self._fail("dial")
        if gate.policy is not self._opening_policy and gate.is_forbidden(tunnel):  # another snapshot came in force meanwhile
            transport.abort()
            return self._fail("swap")
        self._is_gone = True  # for this protocol; the connection lives on as the tunnel's end
        self._receive = _ignore
        gate.promote(self, tunnel)
        tunnel.join(server, self._first)
        return None

    # Ends.

    def _is_refused(self, head: RequestHead, request: Request) -> bool:
        """Judge a request whose URL is known; where it is blocked, it has been answered after this."""
        gate = self._gate
        assert request.url is not None
        if urlsplit(request.url).path.startswith(ASK_PATH):
            return False
        decision = gate.policy.decide(self._ruleset, request)
        if decision.verdict is not Verdict.BLOCK:
            return False
        if decision.reason is Reason.SEARCH and is_private_search(request):
            return False  # the inspector says who listens in place of the results
        self._record("refuse", request, decision)
        form = response_form(request.resource, head.get("accept"), head.get("x-requested-with"), head.get("sec-fetch-mode"))
        reader = gate.policy.page.reader_of(self._ruleset, head.get("accept-language"))
        now = gate.clock()
        ticket = issue_ticket(gate.key, request.host, self._device.id, now) if form is ResponseForm.PAGE else ""
        answer = gate.policy.page.blocked(decision, request.host, request.url, now, form, reader, ticket)
        self._refuse(answer, head_only=head.method == "HEAD")
        return True

    def _may_reach(self, target: Authority) -> bool:
        """Refuses, and returns False, where the port or an address written as such is out of bounds."""
        if self._may_dial(target):
            return True
        if target.port not in self._gate.policy.guard.ports:
            self._gate.drop("port")
            self._refuse_request("port-closed", 403, f"port {target.port} is not served")
        else:
            self._gate.drop("destination")
            self._refuse_request("not-reachable", 403, "this address is not reachable through the proxy")
        return False

    def _may_dial(self, target: Authority) -> bool:
        """Whether port, and address if it is one, are in bounds. What a name stands for is looked at when it is resolved."""
        guard = self._gate.policy.guard
        return target.port in guard.ports and (not is_address(target.host) or guard.allows(target.host))

    def _refuse_request(self, key: str, status: int, message: str, extra: tuple[tuple[str, str], ...] = ()) -> None:
        """Refuse a request that has been read: with the page of that key where a page is wanted, else in a sentence for programs."""
        page, head = self._gate.policy.page, self._head
        assert head is not None
        form = response_form(head.get("sec-fetch-dest"), head.get("accept"), head.get("x-requested-with"), head.get("sec-fetch-mode"))
        if head.method == "CONNECT" or form is not ResponseForm.PAGE:
            answer = page.error(status, message)
        else:
            answer = page.short_page(key, status, reader=page.reader_of(self._ruleset, head.get("accept-language")))
        self._refuse(replace(answer, headers=answer.headers + extra), head_only=head.method == "HEAD")

    def _refuse(self, answer: ProxyResponse, *, head_only: bool = False) -> None:
        self._receive = self._discard
        self._gate.start_read_deadline(self)
        self._transport.write(answer.to_bytes(head_only=head_only))
        self._transport.write_eof()

    def _refuse_tls(self) -> None:
        """Refuse a client that speaks TLS, in TLS, at once; like every refusal it must not be overtaken by a reset."""
        self._receive = self._discard
        self._gate.start_read_deadline(self)
        self._transport.write(ACCESS_DENIED_ALERT)
        self._transport.write_eof()
        self._transport.resume_reading()

    def _fail(self, cause: str, *, is_promised: bool = True) -> None:
        """End a connection that leads nowhere, in words where no tunnel was promised yet (an inspector that is just being started)."""
        self._gate.drop(cause)
        if is_promised or self._is_gone or self._transport.is_closing():
            self._transport.abort()
        else:
            self._refuse_request("busy", 503, "the request could not be looked at; try again in a moment")
            self._transport.resume_reading()

    def _record(self, lane: str, request: Request, decision: Decision) -> None:
        gate = self._gate
        gate.counters.add("hedgerow_proxy_connections_total", lane, decision.verdict.value)
        gate.counters.add("hedgerow_proxy_requests_total", lane, decision.verdict.value, decision.reason.value)
        gate.policy.observe(self._device, self._ruleset, request, decision)

    # Small things.

    def _look_up(self) -> bool:
        """Who this is now, and what holds for it; the connection is ended where that is nobody of this network."""
        found = self._gate.policy.find_client(self.address)
        if found is None:
            self.abort()
            return False
        self._device, self._ruleset = found
        return True

    def _can_inspect(self) -> bool:
        return self._ruleset.trusts_ca and not self._ruleset.never_inspect

    def _tunnel_request(self, host: str, *, hides_host: bool = False) -> Request:
        return Request(device=self.device, kind=RequestKind.TUNNEL, host=host, port=self._target.port, hides_host=hides_host)
