"""State table of a connection at the gate.

A client of the explicit proxy begins in `PROXY_REQUEST`, a redirected one in `DETECTING`. Each row maps the commands that may be given
in a state to the state that follows. `tools/state_diagram.py` draws the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hedgerow.proxy.gate import commands


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


type _Row = dict[type[commands.Command], State]

_REFUSED: _Row = {commands.Refuse: State.DISCARDING, commands.Close: State.CLOSED}
_DENIED: _Row = {commands.Deny: State.DISCARDING, commands.Close: State.CLOSED}
_REQUEST: _Row = {**_REFUSED, commands.HandOver: State.HANDING_OVER}
_HELLO: _Row = {**_DENIED, commands.HandOver: State.HANDING_OVER, commands.Resolve: State.RESOLVING, commands.Dial: State.DIALLING}
_SIGNED_IN: _Row = {**_REQUEST, commands.AcceptConnect: State.TUNNEL_HELLO}

TRANSITIONS: Mapping[State, _Row] = {
    State.PROXY_REQUEST: {**_SIGNED_IN, commands.ServePac: State.DISCARDING, commands.CheckPassword: State.SIGNING_IN},
    State.SIGNING_IN: _SIGNED_IN,
    State.TUNNEL_HELLO: _HELLO,
    State.DETECTING: {commands.AwaitHello: State.ORIGIN_HELLO, commands.AwaitRequest: State.ORIGIN_REQUEST, commands.Close: State.CLOSED},
    State.ORIGIN_HELLO: _HELLO,
    State.ORIGIN_REQUEST: _REQUEST,
    State.RESOLVING: {**_DENIED, commands.Dial: State.DIALLING},
    State.DIALLING: {commands.Join: State.TUNNELLED, commands.Close: State.CLOSED},
    State.HANDING_OVER: {**_REFUSED, commands.Release: State.INSPECTED},
    State.DISCARDING: {commands.Close: State.CLOSED},
    State.TUNNELLED: {},
    State.INSPECTED: {},
    State.CLOSED: {},
}

WAITING = frozenset({State.SIGNING_IN, State.RESOLVING, State.DIALLING, State.HANDING_OVER})
"""States in which the client waits for us; what it sends meanwhile is kept."""
