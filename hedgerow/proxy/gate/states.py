"""State table of a connection at the gate.

A client of the explicit proxy begins in `PROXY_REQUEST`, a redirected one in `DETECTING`. Each row maps the commands that may be given
in a state to the state that follows. `tools/state_diagram.py` draws the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hedgerow.proxy.gate.commands import (
    AcceptConnect,
    AwaitHello,
    AwaitRequest,
    CheckPassword,
    Close,
    Command,
    Deny,
    Dial,
    HandOver,
    Join,
    Refuse,
    Release,
    Resolve,
    ServePac,
)


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


_REFUSALS: dict[type[Command], State] = {Refuse: State.DISCARDING, Close: State.CLOSED}
_REQUEST: dict[type[Command], State] = {**_REFUSALS, HandOver: State.HANDING_OVER}
_HELLO: dict[type[Command], State] = {
    Deny: State.DISCARDING,
    Close: State.CLOSED,
    HandOver: State.HANDING_OVER,
    Resolve: State.RESOLVING,
    Dial: State.DIALLING,
}

TRANSITIONS: Mapping[State, Mapping[type[Command], State]] = {
    State.PROXY_REQUEST: {
        **_REQUEST,
        ServePac: State.DISCARDING,
        CheckPassword: State.SIGNING_IN,
        AcceptConnect: State.TUNNEL_HELLO,
    },
    State.SIGNING_IN: {**_REQUEST, AcceptConnect: State.TUNNEL_HELLO},
    State.TUNNEL_HELLO: _HELLO,
    State.DETECTING: {AwaitHello: State.ORIGIN_HELLO, AwaitRequest: State.ORIGIN_REQUEST, Close: State.CLOSED},
    State.ORIGIN_HELLO: _HELLO,
    State.ORIGIN_REQUEST: _REQUEST,
    State.RESOLVING: {Dial: State.DIALLING, Deny: State.DISCARDING, Close: State.CLOSED},
    State.DIALLING: {Join: State.TUNNELLED, Close: State.CLOSED},
    State.HANDING_OVER: {**_REFUSALS, Release: State.INSPECTED},
    State.DISCARDING: {Close: State.CLOSED},
    State.TUNNELLED: {},
    State.INSPECTED: {},
    State.CLOSED: {},
}

STATE_CHANGES = frozenset(command for row in TRANSITIONS.values() for command in row)
"""The commands that change a state; each is an error in a state whose row does not have it."""

WAITING = frozenset({State.SIGNING_IN, State.RESOLVING, State.DIALLING, State.HANDING_OVER})
"""States in which the client waits for us; what it sends meanwhile is kept."""
