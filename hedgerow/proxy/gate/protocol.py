"""The protocol of a client connection at the gate, from its first byte until it is refused, tunnelled or handed to an
inspector.

No sockets, clock, files or logs: events go in as method calls, commands come out (`commands.py`, with
the table of states). `decide` is pure, so the protocol calls it; whatever waits for something is a command, and its
outcome an event. The protocol ends where a tunnel or an inspector takes over.
"""

from __future__ import annotations

from dataclasses import replace

from hedgerow.policies.model import Verdict
from hedgerow.proxy.client_hello import HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.gate import commands, explicit, transparent
from hedgerow.proxy.gate.commands import TRANSITIONS, WAITING, Command, Commands, GateClient, State
from hedgerow.proxy.gate.lanes import dial_resolved, refuse
from hedgerow.proxy.gate.rules import GateRules, KnownConnect
from hedgerow.proxy.http_head import Authority, HeadError, HeadReader, RequestHead
from hedgerow.proxy.policy import ResolvedHost

_MAX_DISCARDED = 64 * 1024 * 1024
"""Bytes of a refused upload that are discarded: browsers read the response only once they have sent everything."""

_DISCARD_BYTES_PER_DEADLINE = 1024 * 1024
"""Bytes of it for which a client gets the time of a request head."""


class GateProtocol:
    """One connection. Each event returns the commands that follow from it.

    `pending` holds what the client has sent that is meant for the server or the inspector. `destination` is the address
    to which the client of a redirected connection connected, None on the explicit proxy's ports. Times are seconds
    since the epoch.
    """

    __slots__ = (
        "_destination",
        "_discarded",
        "_head",
        "_hello",
        "_last",
        "_policy",
        "_reader",
        "_rules",
        "address",
        "client",
        "pending",
        "state",
    )

    def __init__(self, rules: GateRules, address: str, destination: Authority | None = None) -> None:
        self.state = State.PROXY_REQUEST if destination is None else State.DETECTING
        self.address = address
        self.client: GateClient  # once its first request or ClientHello is read
        self.pending = b""
        self._rules = rules
        self._destination = destination
        self._reader: HeadReader | None = None
        self._hello = HelloReader()
        self._head: RequestHead | None = None
        self._last: Command | None = None  # the command that led to the state
        self._policy = rules.policy  # the policy that allowed the tunnel
        self._discarded = 0

    # Events.

    def receive_data(self, data: bytes, now: float) -> Commands:
        """Take in bytes from the client, which must not be read from in the states of `WAITING`."""
        assert self.state not in WAITING
        try:
            match self.state:
                case State.PROXY_REQUEST | State.ORIGIN_REQUEST:
                    return self._read_request(data, now)
                case State.TUNNEL_HELLO | State.ORIGIN_HELLO:
                    return self._read_hello(data, now)
                case State.DETECTING:
                    return self._detect(data, now)
                case State.DISCARDING:
                    return self._discard(data)
        except HeadError as error:
            return self._emit(commands.Refuse(self._rules.policy.page.error(error.status, str(error)), cause="head"))
        except HelloError:
            return self._emit(commands.Close("hello"))
        return ()

    def repeat_connect(self, known: KnownConnect) -> Commands:
        """Take in a CONNECT from which the same follows as before, in place of its bytes."""
        self._head, self.client = known.head, known.client
        return self._emit(known.command)

    def time_out(self) -> Commands:
        """Refuse or close the connection, because the state's deadline has passed."""
        if self.state is State.CLOSED:
            return ()
        if self.state in WAITING:
            return self._emit(commands.Close("dial"))
        if self.state is State.PROXY_REQUEST:
            return self._emit(
                commands.Refuse(self._rules.policy.page.error(408, "the request took too long"), cause="timeout")
            )
        return self._emit(commands.Close("timeout"))

    def password_checked(self, user: str | None, now: float) -> Commands:
        """Continue as `user`, or ask to sign in again if the credentials were wrong (None)."""
        head, client = self._request()
        if user is None:
            return self._emit(explicit.ask_to_sign_in(self._rules, client, head, cause="sign-in"))
        return self._answer(explicit.serve_user(self._rules, user, head, now), now)

    def password_not_checked(self) -> Commands:
        """Refuse the request, because the client has tried too many passwords."""
        head, client = self._request()
        return self._emit(
            refuse(
                self._rules, client, head, "sign-in-later", 429, "too many tries; wait five minutes", cause="sign-in"
            )
        )

    def resolved(self, host: ResolvedHost) -> Commands:
        """Dial the addresses that the resolver returned, or refuse the tunnel."""
        assert isinstance(self._last, commands.Resolve)
        return self._emit(*dial_resolved(self._rules, self.client, self._last, host))

    def dialled(self, flaw: str = "") -> Commands:
        """Start the tunnel to the connected server, or deny it for a `flaw` of an unlisted host's server.

        It is judged again if another policy came into force meanwhile.
        """
        dial = self._last
        assert isinstance(dial, commands.Dial)
        if flaw and dial.unlisted is not None:
            request = replace(dial.unlisted, flaw=flaw)
            decision = self._rules.decide(self.client, request)
            if decision.verdict is Verdict.BLOCK:
                return self._emit(commands.RecordDecision("refuse", self.client, request, decision), commands.Deny())
        ruleset = self.client.ruleset
        if self._rules.policy is not self._policy:
            found = self._rules.ruleset_allowing(self.client.address, dial.requests)
            if found is None:
                return self._emit(commands.Close("swap"))
            ruleset = found
        return self._emit(commands.Join(ruleset))

    def pages_opened(self) -> Commands:
        """Start the relay of a request to our own pages."""
        return self._emit(commands.Join(self.client.ruleset))

    def give_up(self, cause: str) -> Commands:
        """Close the connection, because the resolver failed or no address of the server answered."""
        return self._emit(commands.Close(cause))

    def handed_over(self) -> Commands:
        """Release the connection, because an inspector has taken the client's socket."""
        return self._emit(commands.Release())

    def not_handed_over(self) -> Commands:
        """Refuse or close the connection, because no inspector is running, as just after the start."""
        handover = self._last
        assert isinstance(handover, commands.HandOver)
        if handover.lane != "http" and not handover.header.awaits_reply:  # a CONNECT was accepted, or TLS spoken
            return self._emit(commands.Close("dial"))
        head, client = self._request()
        message = "the request could not be looked at; try again in a moment"
        return self._emit(refuse(self._rules, client, head, "busy", 503, message, cause="dial"))

    # States.

    def _emit(self, *emitted: Command) -> Commands:
        """Make the transitions of these commands.

        KeyError means a command that the state does not allow: a mistake of ours.
        """
        for command in emitted:
            kind = type(command)
            if kind is commands.RecordDecision:
                continue
            if isinstance(command, commands.SwitchClient):
                self.client, self.address = command.client, command.client.address
                continue
            self.state = TRANSITIONS[self.state][kind]
            self._last = command
        return emitted

    def _answer(self, emitted: Commands, now: float) -> Commands:
        """Make the transitions, and go on with what the client sent after its CONNECT without waiting for
        the answer.
        """
        self._emit(*emitted)
        if self.state is State.TUNNEL_HELLO and self.pending:
            first, self.pending = self.pending, b""
            emitted += self.receive_data(first, now)
        return emitted

    def _request(self) -> tuple[RequestHead, GateClient]:
        assert self._head is not None
        return self._head, self.client

    def _detect(self, data: bytes, now: float) -> Commands:
        self.pending += data
        is_tls = looks_like_tls(self.pending)
        if is_tls is None:
            return ()
        first, self.pending = self.pending, b""
        return self._emit(commands.AwaitHello() if is_tls else commands.AwaitRequest()) + self.receive_data(first, now)

    def _read_request(self, data: bytes, now: float) -> Commands:
        if self.state is State.ORIGIN_REQUEST:
            self.pending += data  # the inspector reads it as it was sent
        reader, is_first = self._reader or HeadReader(), self._reader is None
        self._reader = reader
        head = reader.feed(data)
        if head is None:
            return ()
        self._head = head
        client = self._rules.find_client(self.address)
        if client is None:
            return self._emit(commands.Close())
        self.client = client
        if self._destination is not None:
            emitted = transparent.answer_request(self._rules, client, self._destination, head, now)
            if isinstance(emitted[-1], commands.OpenPages):
                self.pending = reader.rest  # the head is relayed in another form
            return self._emit(*emitted)
        self.pending = reader.rest
        emitted = explicit.answer_request(self._rules, client, head, now)
        if is_first and not reader.rest:
            self._rules.note_connect(client, data, head, emitted)
        return self._answer(emitted, now)

    def _read_hello(self, data: bytes, now: float) -> Commands:
        self.pending += data
        accepted = self._last if isinstance(self._last, commands.AcceptConnect) else None
        is_http = accepted is not None and looks_like_tls(self.pending) is False
        hello = None if is_http else self._hello.feed(data)
        if hello is None and not is_http:
            return ()
        # a device or its rules may have changed since the connection began
        client, self._policy = self._rules.find_client(self.address), self._rules.policy
        if client is None:
            return self._emit(commands.Close())
        self.client = client
        if accepted is not None:
            is_ssh = self.pending.startswith(b"SSH-")  # RFC 4253 §4.2
            return self._emit(*explicit.answer_hello(self._rules, client, accepted, hello, now, is_ssh=is_ssh))
        assert self._destination is not None
        assert hello is not None
        return self._emit(*transparent.answer_hello(self._rules, client, self._destination, hello, now))

    def _discard(self, data: bytes) -> Commands:
        """Discard the bytes still on their way; else the kernel would reset the connection, and the reset could
        overtake the refusal.
        """
        before, self._discarded = self._discarded, self._discarded + len(data)
        # A client that sent no request has nothing to upload either.
        if self._discarded > (_DISCARD_BYTES_PER_DEADLINE if self._head is None else _MAX_DISCARDED):
            return self._emit(commands.Close())
        if before // _DISCARD_BYTES_PER_DEADLINE != self._discarded // _DISCARD_BYTES_PER_DEADLINE:
            return (commands.ExtendDeadline(),)
        return ()
