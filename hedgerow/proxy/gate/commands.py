"""Commands of the gate's protocol, all that a connection may be told to do, and the table of states in which each may
be given.

A client of the explicit proxy begins in `PROXY_REQUEST`, a redirected one in `DETECTING`. Each row of `TRANSITIONS`
maps the commands that may be given in a state to the state that follows; a command in no row leaves the state as it is.
`tools/state_diagram.py` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hedgerow.client_classes import ClassedClient
from hedgerow.policies.model import Decision, Device, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.policy import class_of
from hedgerow.values import value_dataclass


@value_dataclass(frozen=True, slots=True)
class GateClient:
    """The client at `address` (or `user:NAME`, once signed in), its device and the ruleset in force for it."""

    address: str
    device: Device
    ruleset: Ruleset

    @property
    def classed(self) -> ClassedClient:
        """The client as limits see it."""
        return class_of(self.address, self.device)

    @property
    def can_be_inspected(self) -> bool:
        return self.ruleset.trusts_ca and not self.ruleset.never_inspect


# Commands that change the state.


@value_dataclass(frozen=True, slots=True)
class AwaitHello:
    """Wait for more: the client speaks TLS, and its ClientHello comes next."""


@value_dataclass(frozen=True, slots=True)
class AwaitRequest:
    """Wait for more: the client does not speak TLS, so an HTTP request must come next."""


@value_dataclass(frozen=True, slots=True)
class AcceptConnect:
    """Answer a CONNECT to `target`, allowed as `request`, with 200. A ClientHello is judged next.

    `helpline_only`: the client has not signed in, so the tunnel may lead to a helpline only.
    """

    target: Authority
    request: Request
    helpline_only: bool = False


@value_dataclass(frozen=True, slots=True)
class CheckPassword:
    """Check the value of a Proxy-Authorization field."""

    credentials: str


@value_dataclass(frozen=True, slots=True)
class Resolve:
    """Look up the addresses of `target` for a tunnel that was allowed by judging `requests`. `unlisted`: see `Dial`."""

    target: Authority
    requests: tuple[Request, ...]
    unlisted: Request | None = None


@value_dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the first of `addresses` that answers.

    The server of an `unlisted` host is examined before it is joined.
    """

    addresses: tuple[str, ...]
    port: int
    requests: tuple[Request, ...]
    unlisted: Request | None = None


@value_dataclass(frozen=True, slots=True)
class Join:
    """Relay bytes between the client and the server that was dialled."""

    ruleset: Ruleset


@value_dataclass(frozen=True, slots=True)
class HandOver:
    """Hand the client's socket to an inspector.

    `head` replaces the request head that was read. `lane` and `verdict` are counted.
    """

    header: HandoverHeader
    lane: str
    verdict: Verdict
    head: bytes = b""


@value_dataclass(frozen=True, slots=True)
class Release:
    """Let go of a socket that an inspector now has."""


@value_dataclass(frozen=True, slots=True)
class Refuse:
    """Send an HTTP response and discard what the client still sends. `cause` counts the connection as dropped."""

    response: ProxyResponse
    head_only: bool = False
    cause: str = ""


@value_dataclass(frozen=True, slots=True)
class ServePac:
    """Send the proxy auto-configuration file. `host` is the Host field of the request."""

    host: str
    head_only: bool


@value_dataclass(frozen=True, slots=True)
class OpenPages:
    """Relay a request to our own pages; `head` is its head in origin form."""

    head: bytes


@value_dataclass(frozen=True, slots=True)
class Deny:
    """Send the TLS alert access_denied and discard what the client still sends."""

    cause: str = ""


@value_dataclass(frozen=True, slots=True)
class Close:
    """Close the connection at once."""

    cause: str = ""


# Commands that do not.


@value_dataclass(frozen=True, slots=True)
class SwitchClient:
    """Count the connection as that of a client that has signed in. The connection closes if its device has too many."""

    client: GateClient


@value_dataclass(frozen=True, slots=True)
class RecordDecision:
    """Count a decision and report it to the journal."""

    lane: str
    client: GateClient
    request: Request
    decision: Decision


@value_dataclass(frozen=True, slots=True)
class ExtendDeadline:
    """Give the client the time of another request head."""


type Command = (
    AwaitHello
    | AwaitRequest
    | AcceptConnect
    | CheckPassword
    | Resolve
    | Dial
    | Join
    | HandOver
    | Release
    | Refuse
    | ServePac
    | OpenPages
    | Deny
    | Close
    | SwitchClient
    | RecordDecision
    | ExtendDeadline
)

type Commands = tuple[Command, ...]
"""Commands in the order in which they are to be carried out."""


class State(Enum):
    """State of a connection; the value describes it in the diagram."""

    PROXY_REQUEST = "reading a request to the proxy"
    SIGNING_IN = "checking a password"
    TUNNEL_HELLO = "reading the ClientHello after a CONNECT"
    DETECTING = "telling TLS from HTTP"
    ORIGIN_HELLO = "reading a redirected ClientHello"
    ORIGIN_REQUEST = "reading a redirected request"
    RESOLVING = "resolving the host"
    DIALLING = "connecting to the server"
    HANDING_OVER = "finding an inspector"
    DISCARDING = "discarding what is still sent"
    TUNNELLED = "a tunnel has taken over"
    INSPECTED = "an inspector has taken over"
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are unique objects, and Enum's own hash is slow


type _Row = dict[type[Command], State]

_REFUSED: _Row = {Refuse: State.DISCARDING, Close: State.CLOSED}
_DENIED: _Row = {Deny: State.DISCARDING, Close: State.CLOSED}
_REQUEST: _Row = {**_REFUSED, HandOver: State.HANDING_OVER}
_HELLO: _Row = {**_DENIED, HandOver: State.HANDING_OVER, Resolve: State.RESOLVING, Dial: State.DIALLING}
_SIGNED_IN: _Row = {**_REQUEST, AcceptConnect: State.TUNNEL_HELLO}

TRANSITIONS: Mapping[State, _Row] = {
    State.PROXY_REQUEST: {
        **_SIGNED_IN,
        ServePac: State.DISCARDING,
        OpenPages: State.DIALLING,
        CheckPassword: State.SIGNING_IN,
    },
    State.SIGNING_IN: _SIGNED_IN,
    State.TUNNEL_HELLO: _HELLO,
    State.DETECTING: {AwaitHello: State.ORIGIN_HELLO, AwaitRequest: State.ORIGIN_REQUEST, Close: State.CLOSED},
    State.ORIGIN_HELLO: _HELLO,
    State.ORIGIN_REQUEST: {**_REQUEST, OpenPages: State.DIALLING},
    State.RESOLVING: {**_DENIED, Dial: State.DIALLING},
    State.DIALLING: {**_DENIED, Join: State.TUNNELLED},
    State.HANDING_OVER: {**_REFUSED, Release: State.INSPECTED},
    State.DISCARDING: {Close: State.CLOSED},
    State.TUNNELLED: {},
    State.INSPECTED: {},
    State.CLOSED: {},
}

WAITING = frozenset({State.SIGNING_IN, State.RESOLVING, State.DIALLING, State.HANDING_OVER})
"""States in which the client waits for us; what it sends meanwhile is not read."""
