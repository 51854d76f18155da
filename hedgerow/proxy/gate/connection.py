"""The side of a client connection at the gate that has a socket: feeds events to its `GateProtocol` and carries out the
commands.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

from hedgerow.policies.identity import Protection
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.certificate_examiner import Server
from hedgerow.proxy.client_hello import ACCESS_DENIED_ALERT
from hedgerow.proxy.gate import commands
from hedgerow.proxy.gate.commands import WAITING, Command, Commands, GateClient
from hedgerow.proxy.gate.dialling import BegunConnection, Opened, dial, open_pages
from hedgerow.proxy.gate.explicit import proxy_authority
from hedgerow.proxy.gate.protocol import GateProtocol
from hedgerow.proxy.gate.resources import GateResources
from hedgerow.proxy.gate.rules import KnownConnect
from hedgerow.proxy.gate.tunnel import Tunnel
from hedgerow.proxy.handover import encode_handover_header
from hedgerow.proxy.http_head import CONNECTION_ESTABLISHED, Authority
from hedgerow.proxy.own_pages import pac_response
from hedgerow.proxy.poller import HUNG_UP, READABLE
from hedgerow.watched_tasks import note_unexpected

# until a client is looked at again that has not taken our own bytes, before its socket can be handed over
_UNSENT_RETRY_SECONDS = 0.003
_READ_OCTETS = 16 * 1024
_MAX_READS = 64
"""Reads from one client in its turn, before the other connections have theirs."""


class GateConnection:
    """A client connection.

    `address` is the client's, maybe behind a load balancer. `destination_of` gives the address to which a redirected
    client connected, and is None on explicit ports. `protection` is what a client shows to use that is served here, if
    anything.
    """

    __slots__ = (
        "_address",
        "_destination_of",
        "_gate",
        "_has_ended",
        "_is_gone",
        "_is_last",
        "_is_readable",
        "_opened",
        "_protection",
        "_protocol",
        "_sock",
        "_unsent",
        "task",
    )

    def __init__(
        self,
        gate: GateResources[GateConnection],
        sock: socket.SocketType,
        address: str,
        destination_of: Callable[[socket.SocketType], Authority | None] | None,
        protection: Protection | None,
    ) -> None:
        self._gate = gate
        self._sock = sock
        self._address = address.partition("%")[0]
        self._destination_of = destination_of
        self._protection = protection
        self.task: asyncio.Task[None] | None = None  # for which the client waits
        self._opened: Opened | None = None
        self._is_gone = False  # for the gate's table: closed, a tunnel's now, or an inspector's
        self._is_readable = False  # there may be more to read than was read
        self._has_ended = False
        self._unsent = b""
        self._is_last = False  # nothing is sent after `_unsent`
        self._protocol: GateProtocol

    def begin(self, first: bytes | None) -> None:
        """Read from the client, of which `first` has been read already unless it is None."""
        # Most requests have come with the connection. If an inspector gets it, it need not be watched at all.
        data, known = self._read_first() if first is None else first, None
        self._is_readable = first is not None or len(data) == _READ_OCTETS
        if first is None and self._destination_of is None:
            known = self._gate.rules.repeated_connect(self._address, data)
            if known is not None and self._gate.hand_over_again(self._sock, known):
                self._is_gone = True
                self._report_protection(known.client)
                return
        if not self._admit(known):
            return
        if data:
            self._take(data, known)
        if not self._is_gone and self._is_readable:
            self._receive()
        if not self._is_gone:
            self._gate.poller.watch(self._sock, self._handle)

    def _read_first(self) -> bytes:
        try:
            return self._sock.recv(_READ_OCTETS)
        except OSError:  # nothing, or a reset that is seen once the socket is watched
            return b""

    def _admit(self, known: KnownConnect | None) -> bool:
        """Count the connection, or turn it away."""
        cause, destination = self._gate.admit(self, self._address, None if known is None else known.client), None
        if cause:
            self._is_gone = True
            self._gate.poller.close(self._sock)
        elif self._destination_of is not None:
            destination = self._destination_of(self._sock)
            cause = "" if destination is not None else "direct"
        if cause:
            self._close(cause)
            return False
        self._protocol = GateProtocol(self._gate.rules, self._address, destination)
        if known is None:
            self._gate.table.await_client(self)
        return True

    # Events of the socket.

    def _handle(self, events: int) -> None:
        if self._unsent:
            self._send_rest()
        if events & select.EPOLLERR:
            self.abort()
        elif events & READABLE:
            self._receive(is_hung_up=bool(events & HUNG_UP))

    def _receive(self, *, is_hung_up: bool = True) -> None:
        """Read what has come. `is_hung_up`: the end may be next, so that reading stops only where nothing is left."""
        for _ in range(_MAX_READS):
            if self._is_gone or self._has_ended:
                return
            if self._protocol.state in WAITING:
                self._is_readable = True
                return
            try:
                data = self._sock.recv(_READ_OCTETS)
            except BlockingIOError:
                self._is_readable = False
                return
            except OSError:
                self.abort()
                return
            if not data:
                self._has_ended = True
                if not self._unsent:
                    self.abort()
                return
            self._is_readable = is_hung_up or len(data) == _READ_OCTETS
            self._take(data)
            if not self._is_readable:
                return
        asyncio.get_running_loop().call_soon(self._receive)

    def _take(self, data: bytes, known: KnownConnect | None = None) -> None:
        protocol = self._protocol
        try:
            self._execute(
                protocol.receive_data(data, self._gate.clock()) if known is None else protocol.repeat_connect(known)
            )
        except Exception:
            self._fail()

    def _send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send bytes, and keep those that the client does not take yet."""
        self._is_last = is_last
        is_waiting, self._unsent = bool(self._unsent), self._unsent + data
        if not is_waiting:
            self._send_rest()
            if self._unsent and not self._is_gone:
                self._gate.poller.watch(self._sock, self._handle)
                self._gate.poller.watch_writing(self._sock)

    def _send_rest(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
            if self._unsent:
                return
            if self._has_ended:
                self.abort()
            elif self._is_last:
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self.abort()

    # Events of the gate.

    def abort(self) -> None:
        """Close the connection at once, if it is still the gate's."""
        if self._is_gone:
            return
        self._leave()
        self._gate.poller.close(self._sock)
        if self.task is not None:
            self.task.cancel()

    def time_out(self) -> None:
        if self.task is not None:
            self.task.cancel()
        self._execute(self._protocol.time_out())

    # Commands.

    def _execute(self, emitted: Commands) -> None:
        for command in emitted:
            if self._is_gone:
                return
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        gate = self._gate
        match command:
            case commands.RecordDecision():
                client = command.client
                gate.count_decision(command.lane, command.decision)
                gate.rules.policy.observe(client.device, client.ruleset, command.request, command.decision)
                self._report_protection(self._protocol.client)
            case commands.AcceptConnect():
                self._send(CONNECTION_ESTABLISHED)
                gate.table.await_client(self)
            case commands.Resolve():
                self._start(self._resolve(command))
            case commands.Dial():
                self._dial(command)
            case commands.Join(ruleset):
                self._join(ruleset)
            case commands.HandOver():
                gate.counters.add("hedgerow_proxy_connections_total", command.lane, command.verdict.value)
                self._report_protection(self._protocol.client)
                self._begin_handover(command)
            case commands.CheckPassword(credentials):
                self._check_password(credentials)
            case commands.SwitchClient(client):
                if not gate.table.places.move(self, client.classed):
                    self._close("device")
            case commands.Refuse(response, head_only, cause):
                self._refuse(response.to_bytes(head_only=head_only), cause)
            case commands.ServePac(host, head_only):
                own = self._sock.getsockname()
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
                gate.poller.release(self._sock)
            case commands.ExtendDeadline():
                gate.table.await_client(self)
            case commands.AwaitHello() | commands.AwaitRequest():
                pass
            case _:
                assert_never(command)

    def _report_protection(self, client: GateClient) -> None:
        if self._protection is not None:
            self._gate.rules.policy.report_protection(client.device.id, self._protection)

    def _refuse(self, data: bytes, cause: str = "") -> None:
        """Send a last message.

        Further bytes of the client are read and discarded, so that no reset overtakes the message.
        """
        self._gate.drop(cause)
        self._gate.table.await_client(self)
        self._send(data, is_last=True)

    def _close(self, cause: str = "") -> None:
        self._gate.drop(cause)
        self.abort()

    def _fail(self) -> None:
        note_unexpected("a connection failed at the gate")
        self.abort()

    def _leave(self) -> None:
        self._is_gone = True
        self._gate.table.remove(self)
        if self._opened is not None:
            self._gate.poller.close(self._opened.server)

    # Work that takes time.

    def _start(self, work: Coroutine[Any, Any, Commands]) -> None:
        self._gate.table.await_server(self)
        # It begins at once, not in the loop's next round: most names are in the cache and most servers are near.
        self.task = asyncio.Task(self._work(work), loop=asyncio.get_running_loop(), eager_start=True)

    async def _work(self, work: Coroutine[Any, Any, Commands]) -> None:
        emitted: Commands = ()
        try:
            emitted = await work
            self._execute(emitted)
        except Exception:
            self._fail()
        if self._is_readable and not self._is_gone:
            self._is_readable = False
            self._receive()

    def _check_password(self, credentials: str) -> None:
        device = self._protocol.client.device
        if self._gate.rules.authenticator.may_try(credentials, device.id, is_named=device.known):
            self._start(self._await_password(credentials))
        else:
            self._execute(self._protocol.password_not_checked())

    async def _await_password(self, credentials: str) -> Commands:
        rules = self._gate.rules
        return self._protocol.password_checked(
            await rules.authenticator.check(rules.policy.sign_in, credentials), self._gate.clock()
        )

    async def _resolve(self, command: commands.Resolve) -> Commands:
        client, hosts = self._protocol.client, self._gate.rules.hosts
        try:
            host = await hosts.resolve(client.ruleset, client.device.id, command.target.host, self._gate.clock())
        except Exception:
            note_unexpected("the resolver failed")
            return self._protocol.give_up("resolve")
        return self._protocol.resolved(host)

    def _dial(self, command: commands.Dial) -> None:
        begun = None
        if len(command.addresses) == 1 and command.unlisted is None:
            try:
                begun = BegunConnection(command.addresses[0], command.port)
            except OSError:
                self._execute(self._protocol.give_up("dial"))
                return
            if begun.is_connected:
                self._opened = Opened(begun.sock, command.requests)
                self._execute(self._dialled())
                return
        self._start(self._await_server(command, begun))

    async def _await_server(self, command: commands.Dial, begun: BegunConnection | None) -> Commands:
        poller, client = self._gate.poller, self._protocol.client
        try:
            server = await (dial(poller, command.addresses, command.port) if begun is None else begun.wait(poller))
        except OSError:
            return self._protocol.give_up("dial")
        self._opened, unlisted = Opened(server, command.requests), command.unlisted
        if self._gate.examiner is None or unlisted is None:
            return self._dialled()
        try:
            address = server.getpeername()[0]  # it is examined where the tunnel leads, and nowhere else
        except OSError:
            return self._protocol.give_up("dial")
        owner = client.ruleset.limited_as(client.device.id)
        examined = Server(command.requests[-1].host, address, command.port, owner, unlisted)
        if not self._gate.examiner.may_examine(address):
            return self._dialled()
        self._opened = Opened(server, command.requests, examined=examined)
        found = await self._gate.examiner.examine(examined)
        return self._dialled(self._gate.flaw_of(examined) or found)

    def _dialled(self, flaw: str = "") -> Commands:
        emitted = self._protocol.dialled(flaw)
        if self._opened is not None and not isinstance(emitted[-1], commands.Join):
            self._gate.poller.close(self._opened.server)
        return emitted

    async def _open_pages(self, head: bytes) -> Commands:
        client, pages = self._protocol.client, self._gate.rules.policy.pages
        assert pages is not None
        try:
            self._opened = await open_pages(pages, client.address, self._sock, head)
        except OSError:
            return self._protocol.give_up("dial")
        return self._protocol.pages_opened()

    def _join(self, ruleset: Ruleset) -> None:
        gate, client, opened = self._gate, self._protocol.client, self._opened
        assert opened is not None
        self._opened = None
        tunnel = Tunnel(
            gate.poller,
            gate.pipes,
            gate.table.finish,
            client.address,
            ruleset,
            opened.requests,
            self._sock,
            opened.server,
            opened.examined,
        )
        self._is_gone = True
        gate.table.promote(self, tunnel)
        tunnel.start(self._protocol.pending, opened.preface, to_client=self._unsent)
        if self._is_readable:
            tunnel.client.relay()

    def _begin_handover(self, command: commands.HandOver) -> None:
        header = encode_handover_header(self._gate.rules.key, command.header, self._gate.clock())
        message = header + command.head + self._protocol.pending
        try:
            is_done = not self._unsent and self._gate.handovers.hand_over(self._sock.fileno(), message)
        except OSError:
            return self._execute(self._protocol.not_handed_over())
        return (
            self._execute(self._protocol.handed_over()) if is_done else self._start(self._wait_for_inspector(message))
        )

    async def _wait_for_inspector(self, message: bytes) -> Commands:
        while self._unsent:  # noqa: ASYNC110 (it is rare, and sending has no event of its own)
            await asyncio.sleep(_UNSENT_RETRY_SECONDS)
        try:
            await self._gate.handovers.wait(self._protocol.client.classed, self._sock.fileno(), message)
        except OSError:
            return self._protocol.not_handed_over()
        return self._protocol.handed_over()
