"""The asyncio side of a client connection at the gate: feeds events to its `GateProtocol` and carries out the commands."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, assert_never

from hedgerow.policies.identity import Protection
from hedgerow.policies.privacy import counted_reason
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.client_hello import ACCESS_DENIED_ALERT
from hedgerow.proxy.connections import dial
from hedgerow.proxy.gate import commands
from hedgerow.proxy.gate.commands import Command, Commands, GateClient
from hedgerow.proxy.gate.explicit import proxy_authority
from hedgerow.proxy.gate.protocol import GateProtocol
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.gate.table import GateTable
from hedgerow.proxy.gate.tunnel import Tunnel, TunnelEnd
from hedgerow.proxy.handover import HandoverSender, encode_handover_header
from hedgerow.proxy.http_head import CONNECTION_ESTABLISHED, Authority
from hedgerow.proxy.own_pages import pac_response, relay_line
from hedgerow.proxy.policy import Counters
from hedgerow.sockets import offer_connection_patiently

log = logging.getLogger(__name__)

_HANDOVER_RETRY_SECONDS = 0.003  # until inspectors that had no room for another connection are tried again
_FIRST_READ = 16 * 1024


@dataclass(frozen=True, slots=True)
class GateResources:
    """Parts of a gate that its connections share."""

    rules: GateRules
    table: GateTable[GateConnection]
    sender: HandoverSender
    examiner: CertificateExaminer | None
    counters: Counters
    clock: Callable[[], float]

    def drop(self, cause: str) -> None:
        """Count a connection that was dropped or refused."""
        self.counters.add("hedgerow_proxy_dropped_total", cause)


class GateConnection(asyncio.Protocol):
    """A client connection.

    `destination_of` gives the address to which a redirected client connected, and is None on explicit ports. `protection` is what a
    client shows to use that is served here, if anything. `address` is the client's behind a load balancer, None for the peer's.
    """

    __slots__ = (
        "_address", "_destination_of", "_first", "_gate", "_is_gone", "_opened", "_protection", "_protocol", "_task", "_transport",
    )  # fmt: skip

    def __init__(
        self,
        gate: GateResources,
        destination_of: Callable[[socket.socket], Authority | None] | None,
        protection: Protection | None,
        address: str | None = None,
    ) -> None:
        self._gate = gate
        self._address = address
        self._protection = protection
        self._destination_of = destination_of
        self._is_gone = False  # for the gate's table: closed, a tunnel's now, or an inspector's
        self._task: asyncio.Task[None] | None = None
        self._opened: tuple[Tunnel, TunnelEnd] | None = None
        self._first: Commands = ()  # that follow from what had come with the connection
        self._transport: asyncio.Transport
        self._protocol: GateProtocol

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        address = (self._address or (peer[0] if peer else "")).partition("%")[0]
        first = self._read_first() if self._address is None else b""  # a load balancer's header is read already, maybe with more
        if first and self._destination_of is None and self._hand_over_again(address, first):
            return
        destination = None
        if cause := self._admit(address):
            self._is_gone = True
        elif self._destination_of is not None:
            destination = self._destination_of(transport.get_extra_info("socket"))
            cause = "" if destination is not None else "direct"
        self._protocol = GateProtocol(self._gate.rules, address, destination)
        if cause:
            self._gate.drop(cause)
            self._transport.abort()
        else:
            self._gate.table.await_client(self)
            if first:
                self._take_first(first)

    def _read_first(self) -> bytes:
        """Read the data that came with the connection, as most requests do. If an inspector gets it, the event loop need not watch it."""
        try:
            return os.read(self._transport.get_extra_info("socket").fileno(), _FIRST_READ)
        except OSError:  # nothing, or a reset that the event loop will see too
            return b""

    def _hand_over_again(self, address: str, first: bytes) -> bool:
        """Hand the connection over if it begins with a CONNECT that led to an inspector before. Return False if it must be read."""
        gate, known = self._gate, self._gate.rules.repeated_handover(address, first)
        if known is None or not gate.table.has_room(known.client.device.id):
            return False
        descriptor = self._transport.get_extra_info("socket").fileno()
        try:
            if not gate.sender.hand_over(descriptor, encode_handover_header(gate.rules.key, known.command.header, gate.clock())):
                return False
        except OSError:
            return False
        self._is_gone = True
        gate.counters.add("hedgerow_proxy_connections_total", known.command.lane, known.command.verdict.value)
        self._report_protection(known.client)
        self._transport.abort()  # ours; the connection lives on at the inspector
        return True

    def _take_first(self, data: bytes) -> None:
        try:
            emitted = self._protocol.receive_data(data, self._gate.clock())
            if emitted and isinstance(emitted[-1], commands.HandOver):
                if len(emitted) == 1 and self._destination_of is None and not self._protocol.pending:
                    self._gate.rules.note_handover(self._protocol.client, data, emitted[-1])
                self._execute(emitted)
            elif emitted:
                self._first = emitted  # the transport can't be paused before it has begun to read
                asyncio.get_running_loop().call_soon(self._execute_first)
        except Exception:
            self._fail()

    def _execute_first(self) -> None:
        emitted, self._first = self._first, ()
        try:
            self._execute(emitted)
        except Exception:
            self._fail()

    def _admit(self, address: str) -> str:
        """Count the connection; returns the cause if it is turned away."""
        if self._gate.table.is_full:
            return "full"
        client = self._gate.rules.find_client(address)
        if client is None:
            return "outsider"
        return "" if self._gate.table.add(self, client.device.id) else "device"

    def data_received(self, data: bytes) -> None:
        if self._first:
            self._execute_first()
        try:
            self._execute(self._protocol.receive_data(data, self._gate.clock()))
        except Exception:
            self._fail()

    def eof_received(self) -> bool:
        if self._first:
            self._execute_first()
        return self._protocol.receive_eof()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if not self._is_gone:
            self._leave()
            if self._task is not None:
                self._task.cancel()

    # Events of the gate.

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task for which the client waits."""
        return self._task

    def abort(self) -> None:
        self._transport.abort()

    def time_out(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._execute(self._protocol.time_out())

    # Commands.

    def _execute(self, emitted: Commands) -> None:
        for command in emitted:
            if self._transport.is_closing():
                return
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        gate = self._gate
        match command:
            case commands.RecordDecision(lane, client, request, decision):
                gate.counters.add("hedgerow_proxy_connections_total", lane, decision.verdict.value)
                gate.counters.add("hedgerow_proxy_requests_total", lane, decision.verdict.value, counted_reason(decision))
                gate.rules.policy.observe(client.device, client.ruleset, request, decision)
                self._report_protection(self._protocol.client)
            case commands.AcceptConnect():
                self._transport.write(CONNECTION_ESTABLISHED)
                gate.table.await_client(self)
            case commands.Resolve(target):
                assert self._protocol.client is not None
                known = gate.rules.known_host(self._protocol.client, target.host, gate.clock())
                if known is not None:
                    self._execute(self._protocol.resolved(known))
                else:
                    self._start(self._resolve(command))
            case commands.Dial():
                self._start(self._dial(command))
            case commands.Join(ruleset):
                self._join(ruleset)
            case commands.HandOver():
                gate.counters.add("hedgerow_proxy_connections_total", command.lane, command.verdict.value)
                self._report_protection(self._protocol.client)
                self._begin_handover(command)
            case commands.CheckPassword(credentials):
                self._check_password(credentials)
            case commands.SwitchClient(client):
                if not gate.table.switch_device(self, client.device.id):
                    self._close("device")
            case commands.Refuse(response, head_only, cause):
                self._refuse(response.to_bytes(head_only=head_only), cause)
            case commands.ServePac(host, head_only):
                own = self._transport.get_extra_info("sockname")
                proxy = proxy_authority(host, Authority(own[0].partition("%")[0], own[1]))
                self._refuse(pac_response(proxy).to_bytes(head_only=head_only))
            case commands.OpenPages(head):
                self._start(self._open_pages(head))
            case commands.Deny(cause):
                self._refuse(ACCESS_DENIED_ALERT, cause)
            case commands.Close(cause):
                self._close(cause)
            case commands.Release():
                self._leave()
                self._transport.abort()  # ours; the connection lives on at the inspector
            case commands.PauseReading():
                self._transport.pause_reading()
            case commands.ExtendDeadline():
                gate.table.await_client(self)
            case commands.AwaitHello() | commands.AwaitRequest():
                pass
            case _:
                assert_never(command)

    def _report_protection(self, client: GateClient | None) -> None:
        if self._protection is not None and client is not None:
            self._gate.rules.policy.report_protection(client.device.id, self._protection)

    def _refuse(self, data: bytes, cause: str = "") -> None:
        """Send a last message. Further bytes of the client are read and discarded, so that no reset overtakes the message."""
        if cause:
            self._gate.drop(cause)
        self._gate.table.await_client(self)
        self._transport.write(data)
        self._transport.write_eof()
        self._transport.resume_reading()

    def _close(self, cause: str = "") -> None:
        if cause:
            self._gate.drop(cause)
        self._transport.abort()

    def _fail(self) -> None:
        log.exception("a connection failed at the gate")
        self._transport.abort()

    def _leave(self) -> None:
        self._is_gone = True
        self._gate.table.remove(self)

    # Work that takes time.

    def _start(self, work: Coroutine[Any, Any, Commands]) -> None:
        self._gate.table.await_server(self)
        # It begins at once, not in the loop's next round: most names are in the cache and most servers are near.
        self._task = asyncio.Task(self._work(work), loop=asyncio.get_running_loop(), eager_start=True)

    async def _work(self, work: Coroutine[Any, Any, Commands]) -> None:
        try:
            self._execute(await work)
        except Exception:
            self._fail()

    def _check_password(self, credentials: str) -> None:
        rules = self._gate.rules
        found = rules.policy.find_client(self._protocol.address)
        # By device, since one device has any number of addresses.
        if rules.authenticator.may_try(credentials, found[0].id if found is not None else self._protocol.address):
            self._start(self._await_password(credentials))
        else:
            self._execute(self._protocol.password_not_checked())

    async def _await_password(self, credentials: str) -> Commands:
        rules = self._gate.rules
        user = await rules.authenticator.check(rules.policy.sign_in, credentials)
        if self._transport.is_closing():
            return ()
        self._transport.resume_reading()
        return self._protocol.password_checked(user, self._gate.clock())

    async def _resolve(self, command: commands.Resolve) -> Commands:
        client = self._protocol.client
        assert client is not None
        try:
            host = await self._gate.rules.resolve(client, command.target.host, self._gate.clock())
        except Exception:
            log.exception("the resolver failed")
            return self._protocol.not_resolved()
        return self._protocol.resolved(host)

    async def _dial(self, command: commands.Dial) -> Commands:
        client = self._protocol.client
        assert client is not None
        look = self._examine(client, command)
        tunnel = Tunnel(self._gate.table.finish, client.address, client.ruleset, command.requests, self._transport)
        try:
            transport, server = await dial(lambda: TunnelEnd.towards_server(tunnel), command.addresses, command.port)
        except OSError:
            return self._protocol.not_dialled()
        flaw = "" if look is None else await look
        if self._is_gone or self._transport.is_closing() or server.closed:
            transport.abort()
            return self._protocol.not_dialled()
        self._opened = (tunnel, server)
        emitted = self._protocol.dialled(flaw)
        if not isinstance(emitted[-1], commands.Join):
            transport.abort()
        return emitted

    def _examine(self, client: GateClient, command: commands.Dial) -> asyncio.Task[CertificateFlaw] | None:
        """Look at an unlisted host's server while the tunnel is dialled. The SNI that the client sends is the last name that was judged."""
        examiner = self._gate.examiner
        if command.unlisted is None or examiner is None:
            return None
        look = examiner.examine(client.device.id, command.requests[-1].host, command.addresses, command.port)
        return asyncio.get_running_loop().create_task(look)

    async def _open_pages(self, head: bytes) -> Commands:
        client, pages = self._protocol.client, self._gate.rules.policy.pages
        assert client is not None
        assert pages is not None
        tunnel = Tunnel(self._gate.table.finish, client.address, client.ruleset, (), self._transport)
        try:
            offered = await offer_connection_patiently(pages.socket)
            made = await asyncio.get_running_loop().create_unix_connection(lambda: TunnelEnd.towards_server(tunnel), sock=offered)
        except OSError:
            return self._protocol.not_dialled()
        transport, server = made
        if self._is_gone or self._transport.is_closing() or server.closed:
            transport.abort()
            return self._protocol.not_dialled()
        own = str(self._transport.get_extra_info("sockname")[0]).partition("%")[0]
        transport.write(relay_line(client.address, own, pages.port) + head)
        self._opened = (tunnel, server)
        return self._protocol.pages_opened()

    def _join(self, ruleset: Ruleset) -> None:
        assert self._opened is not None
        tunnel, server = self._opened
        self._is_gone = True
        tunnel.ruleset = ruleset
        self._gate.table.promote(self, tunnel)
        tunnel.join(server, self._protocol.pending)

    def _begin_handover(self, command: commands.HandOver) -> None:
        message = encode_handover_header(self._gate.rules.key, command.header, self._gate.clock()) + command.head
        try:
            is_done = self._hand_over(message)
        except OSError:
            return self._execute(self._protocol.not_handed_over())
        return self._execute(self._protocol.handed_over()) if is_done else self._start(self._wait_for_inspector(message))

    def _hand_over(self, message: bytes) -> bool:
        """Send the client's socket to an inspector. False if none has room or our own bytes are not sent yet; OSError if none runs."""
        if self._transport.get_write_buffer_size():
            return False
        return self._gate.sender.hand_over(self._transport.get_extra_info("socket").fileno(), message + self._protocol.pending)

    async def _wait_for_inspector(self, message: bytes) -> Commands:
        try:
            while not self._transport.is_closing():
                if self._hand_over(message):
                    return self._protocol.handed_over()
                await asyncio.sleep(_HANDOVER_RETRY_SECONDS)
        except OSError:
            return self._protocol.not_handed_over()
        return ()
