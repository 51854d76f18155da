"""One client connection at the gate, from its first byte until it is refused or becomes a tunnel.

The state is which method takes the next bytes: `_read_head`, `_read_hello`, `_keep` while something is being dialled, `_discard`
after a refusal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Decision, DeviceId, Kind, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.asking import host_of_url
from hedgerow.proxy.block_page import ASK_PATH, Answer, form_of
from hedgerow.proxy.client_hello import ACCESS_DENIED_ALERT, ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.dial import dial
from hedgerow.proxy.http_head import Authority, Head, HeadError, HeadReader, forward_head, parse_authority, parse_target
from hedgerow.proxy.judge import Judge, strictest
from hedgerow.proxy.pass_ticket import FIELD, issue_pass
from hedgerow.proxy.tunnel import End, Tunnel

if TYPE_CHECKING:
    from hedgerow.proxy.gate import Gate

log = logging.getLogger(__name__)

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_OUR_FIELDS = frozenset({FIELD.lower()})
_LONGEST_REPLY = 4096


class Connection(asyncio.Protocol):
    """Reads the client's first words and acts on them."""

    __slots__ = (
        "_after",
        "_discarded",
        "_first",
        "_gate",
        "_hello",
        "_is_gone",
        "_judged_by",
        "_reader",
        "_receive",
        "_ruleset",
        "_target",
        "_task",
        "_transport",
        "address",
        "device",
    )

    def __init__(self, gate: Gate) -> None:
        self.address = ""
        self.device = DeviceId("")
        self._gate = gate
        self._reader = HeadReader()
        self._hello = HelloReader()
        self._first = b""  # what the client sent after the head of its CONNECT
        self._discarded = 0
        self._is_gone = False
        self._task: asyncio.Task[None] | None = None
        self._receive: Callable[[bytes], None] = self._read_head
        self._transport: asyncio.Transport
        self._judged_by: Judge
        self._ruleset: Ruleset
        self._target: Authority

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.address = peer[0].partition("%")[0] if peer else ""
        if self._gate.entered(self):
            self._gate.wait(self)
        else:
            self._is_gone = True
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except HeadError as error:
            self._gate.drop("head")
            self._refuse(self._gate.judge.page.error(error.status, str(error)))
        except HelloError:
            self._gate.drop("hello")
            self.abort()
        except Exception:
            log.exception("a connection failed at the gate")
            self.abort()

    def eof_received(self) -> bool:
        """A client that ends before it has said what it wants has nothing to wait for; one whose tunnel is being made may have."""
        return self._task is not None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._is_gone:
            return
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()
        self._gate.left(self)

    # What the gate asks of it.

    def abort(self) -> None:
        self._transport.abort()

    def expire(self) -> None:
        """The time for what is being read is over."""
        if self._receive == self._read_head:
            self._refuse(self._gate.judge.page.error(408, "the request took too long"))
        else:
            self.abort()

    # The states.

    def _read_head(self, data: bytes) -> None:
        head = self._reader.feed(data)
        if head is None:
            return
        found = self._gate.judge.client_of(self.address)
        if found is None:
            self.abort()
            return
        self._ruleset = found[1]
        if head.method == "CONNECT":
            self._connect(head)
        else:
            self._request(head)

    def _read_hello(self, data: bytes) -> None:
        self._first += data
        if looks_like_tls(self._first) is False:
            self._read_other()
            return
        hello = self._hello.feed(data)
        if hello is not None:
            self._judge_hello(hello)

    def _keep(self, data: bytes) -> None:
        self._first += data

    def _discard(self, data: bytes) -> None:
        """Take in what is still on its way, or the kernel would answer it with a reset that overtakes the refusal."""
        self._discarded += len(data)
        if self._discarded > 1024 * 1024:
            self.abort()

    # Plain HTTP.

    def _request(self, head: Head) -> None:
        gate, now = self._gate, self._gate.clock()
        target = parse_target(head.target)
        request = Request(
            device=self.device, kind=Kind.HTTP, host=target.authority.host, port=target.authority.port, url=target.url,
            method=head.method, resource=head.get("sec-fetch-dest"), initiator=_initiator(head),
        )  # fmt: skip
        if not self._may_reach(target.authority):
            return
        if not target.path.startswith(ASK_PATH):
            decision = gate.judge.decide(self._ruleset, request)
            if decision.verdict is Verdict.BLOCK:
                self._note("refuse", request, decision)
                form = form_of(request.resource, head.get("accept"), head.get("x-requested-with"))
                reader = gate.judge.page.reader_of(self._ruleset, head.get("accept-language"))
                answer = gate.judge.page.blocked(decision, request.host, target.url, now, form, reader)
                self._refuse(answer, head_only=head.method == "HEAD")
                return
        # The inspector judges this request again, as it does all that follow on the connection, and observes it.
        gate.counters.add("hedgerow_proxy_connections_total", "http", "allow")
        ticket = issue_pass(gate.key, self.address, now)
        host = str(target.authority) if target.authority.port != 80 else str(target.authority).removesuffix(":80")
        head_bytes = forward_head(head, target.url, host, ((FIELD, ticket),), _OUR_FIELDS)
        self._first = self._reader.rest
        self._start(self._open_inspector((request,), head_bytes, "http", swallow=False))

    # CONNECT.

    def _connect(self, head: Head) -> None:
        self._target = parse_authority(head.target)
        if not self._may_reach(self._target):
            return
        request = self._tunnel_request(self._target.host)
        decision = self._gate.judge.decide(self._ruleset, request)
        self._first = self._reader.rest
        if decision.verdict is Verdict.BLOCK and not _can_inspect(self._ruleset):
            self._note("refuse", request, decision)
            self._refuse(self._gate.judge.page.refused_tunnel(decision, request.host, self._gate.clock()))
        elif decision.verdict in {Verdict.BLOCK, Verdict.INSPECT}:
            self._inspect((request,), decision, swallow=False)
        else:
            self._transport.write(_ESTABLISHED)
            self._receive = self._read_hello
            self._gate.wait(self)
            first, self._first = self._first, b""
            if first:
                self._read_hello(first)

    def _judge_hello(self, hello: ClientHello) -> None:
        """The name inside may differ from the name outside: then each is judged."""
        requests = [self._tunnel_request(self._target.host)]
        if hello.sni is not None and hello.sni != self._target.host:
            requests.append(self._tunnel_request(hello.sni))
        judged = [(each, self._gate.judge.decide(self._ruleset, each)) for each in requests]
        request, decision = strictest(judged)
        match decision.verdict:
            case Verdict.BLOCK:
                self._note("refuse", request, decision)
                self._transport.write(ACCESS_DENIED_ALERT)
                self._transport.close()
            case Verdict.INSPECT:
                self._inspect(tuple(requests), decision, swallow=True)
            case Verdict.ALLOW | Verdict.REWRITE:
                self._note("tunnel", request, decision)
                self._start(self._open_tunnel(tuple(requests)))

    def _read_other(self) -> None:
        """What is no TLS can be read: if it is HTTP (as WebSocket without TLS is), every request of it is judged by its URL."""
        request = self._tunnel_request(self._target.host)
        decision = self._gate.judge.decide(self._ruleset, request)
        self._inspect((request,), decision, swallow=True)

    def _inspect(self, requests: tuple[Request, ...], decision: Decision, *, swallow: bool) -> None:
        gate = self._gate
        gate.counters.add("hedgerow_proxy_connections_total", "inspect", decision.verdict.value)
        ticket = issue_pass(gate.key, self.address, gate.clock())
        head = f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n{FIELD}: {ticket}\r\n\r\n".encode("latin-1")
        blocked = decision.verdict is Verdict.BLOCK
        self._start(self._open_inspector(requests, head, "inspect", swallow=swallow, blocked=blocked))

    # Dialling.

    def _start(self, opening: Coroutine[Any, Any, None]) -> None:
        self._gate.waited(self)
        self._judged_by = self._gate.judge
        self._receive = self._keep
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(opening)
        self._gate.tasks.add(self._task)
        self._task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._gate.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection could not be opened", exc_info=error)
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
                self._note("refuse", requests[0], resolved.decision)
                return self._deny()
            addresses = gate.judge.guard.allowed(resolved.addresses)
            if resolved.addresses and not addresses:
                gate.drop("destination")
                return self._deny()
        tunnel = Tunnel(gate, self.address, self._ruleset, requests, "tunnel", self._transport)
        await self._join(tunnel, addresses, target.port)
        return None

    async def _open_inspector(self, requests: tuple[Request, ...], head: bytes, lane: str, *, swallow: bool, blocked: bool = False) -> None:
        host, port = self._gate.next_inspector()
        tunnel = Tunnel(self._gate, self.address, self._ruleset, requests, lane, self._transport, blocked=blocked)
        await self._join(tunnel, (host,), port, head, ReplySwallower if swallow else End)

    async def _join(self, tunnel: Tunnel, addresses: tuple[str, ...], port: int, prefix: bytes = b"", kind: type[End] = End) -> None:
        """Dial, and go on as a tunnel; `prefix` is said to the server before what the client said."""
        gate = self._gate
        try:
            transport, server = await dial(lambda: kind.towards_server(tunnel), addresses, port, gate.limits.dial)
        except OSError:
            return self._fail("dial", is_promised=tunnel.lane == "tunnel" or kind is ReplySwallower)
        if self._is_gone or self._transport.is_closing() or server.closed:
            transport.abort()
            return self._fail("dial")
        if gate.judge is not self._judged_by and gate.is_forbidden(tunnel):  # another snapshot came in force meanwhile
            transport.abort()
            return self._fail("swap")
        self._is_gone = True  # for this protocol; the connection lives on as the tunnel's end
        gate.became(self, tunnel)
        tunnel.join(server, self._first, prefix)
        return None

    # Ends.

    def _may_reach(self, target: Authority) -> bool:
        """Refuses, and returns False, where the port or an address written as such is out of bounds."""
        guard = self._gate.judge.guard
        if target.port not in guard.ports:
            self._gate.drop("port")
            self._refuse(self._gate.judge.page.error(403, f"port {target.port} is not served"))
        elif is_address(target.host) and not guard.allows(target.host):
            self._gate.drop("destination")
            self._refuse(self._gate.judge.page.error(403, "this address is not reachable through the proxy"))
        else:
            return True
        return False

    def _refuse(self, answer: Answer, *, head_only: bool = False) -> None:
        self._receive = self._discard
        self._gate.wait(self)
        self._transport.write(answer.to_bytes(head_only=head_only))
        self._transport.write_eof()

    def _deny(self) -> None:
        """Refuse a tunnel that was already promised: the client speaks TLS now, so in TLS."""
        self._transport.write(ACCESS_DENIED_ALERT)
        self._transport.close()

    def _fail(self, cause: str, *, is_promised: bool = True) -> None:
        """End a connection that leads nowhere, in words where no tunnel was promised yet (an inspector that is just being started)."""
        self._gate.drop(cause)
        if is_promised or self._is_gone or self._transport.is_closing():
            self._transport.abort()
        else:
            self._refuse(self._gate.judge.page.error(503, "the request could not be looked at; try again in a moment"))
            self._transport.resume_reading()

    def _note(self, lane: str, request: Request, decision: Decision) -> None:
        gate = self._gate
        gate.counters.add("hedgerow_proxy_connections_total", lane, decision.verdict.value)
        gate.counters.add("hedgerow_proxy_requests_total", lane, decision.verdict.value, decision.reason.value)
        found = gate.judge.client_of(self.address)
        if found is not None:
            gate.judge.observe(found[0], self._ruleset, request, decision)

    def _tunnel_request(self, host: str) -> Request:
        return Request(device=self.device, kind=Kind.TUNNEL, host=host, port=self._target.port)


class ReplySwallower(End):
    """The inspector's end of a tunnel whose client was told already that it stands: the inspector's own word on that is taken off."""

    __slots__ = ("_reply",)

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(tunnel)
        self._reply: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self._reply is None:
            super().data_received(data)
            return
        self._reply += data
        reply, end, rest = self._reply.partition(b"\r\n\r\n")
        if end and reply.split(b" ", 2)[1:2] == [b"200"]:
            self._reply = None
            if rest:
                super().data_received(rest)
        elif end or len(reply) > _LONGEST_REPLY:
            self.tunnel.cut()


def _can_inspect(ruleset: Ruleset) -> bool:
    return ruleset.trusts_ca and not ruleset.never_inspect


def _initiator(head: Head) -> str:
    """The host of the page that asks, or an empty text."""
    return host_of_url(head.get("referer") or head.get("origin"))
