"""Commands of the gate's protocol: all that a connection may be told to do.

A command that names no state in `states.TRANSITIONS` leaves the state as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.policies.model import Decision, Device, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.pages.response import ProxyResponse


@dataclass(frozen=True, slots=True)
class GateClient:
    """The client at `address` (or `user:NAME`, once signed in), its device and the ruleset in force for it."""

    address: str
    device: Device
    ruleset: Ruleset

    @property
    def can_be_inspected(self) -> bool:
        return self.ruleset.trusts_ca and not self.ruleset.never_inspect


# Commands that change the state.


@dataclass(frozen=True, slots=True)
class AwaitHello:
    """Wait for more: the client speaks TLS, and its ClientHello comes next."""


@dataclass(frozen=True, slots=True)
class AwaitRequest:
    """Wait for more: the client does not speak TLS, so an HTTP request must come next."""


@dataclass(frozen=True, slots=True)
class AcceptConnect:
    """Answer a CONNECT to `target`, allowed as `request`, with 200. A ClientHello is judged next.

    `helpline_only`: the client has not signed in, so the tunnel may lead to a helpline only.
    """

    target: Authority
    request: Request
    helpline_only: bool = False


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """Check the value of a Proxy-Authorization field."""

    credentials: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look up the addresses of `target` for a tunnel that was allowed by judging `requests`."""

    target: Authority
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the first of `addresses` that answers."""

    addresses: tuple[str, ...]
    port: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Relay bytes between the client and the server that was dialled."""

    ruleset: Ruleset


@dataclass(frozen=True, slots=True)
class HandOver:
    """Hand the client's socket to an inspector. `head` replaces the request head that was read. `lane` and `verdict` are counted."""

    header: HandoverHeader
    lane: str
    verdict: Verdict
    head: bytes = b""

    @property
    def awaits_http_response(self) -> bool:
        """True while an HTTP error can still be sent: no CONNECT was accepted and no TLS spoken."""
        return self.lane == "http" or self.header.awaits_reply


@dataclass(frozen=True, slots=True)
class Release:
    """Let go of a socket that an inspector now has."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send an HTTP response and discard what the client still sends. `cause` counts the connection as dropped."""

    response: ProxyResponse
    head_only: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ServePac:
    """Send the proxy auto-configuration file. `host` is the Host field of the request."""

    host: str
    head_only: bool


@dataclass(frozen=True, slots=True)
class Deny:
    """Send the TLS alert access_denied and discard what the client still sends."""

    cause: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection at once."""

    cause: str = ""


# Commands that do not.


@dataclass(frozen=True, slots=True)
class SwitchClient:
    """Count the connection as that of a client that has signed in. The connection closes if its device has too many."""

    client: GateClient


@dataclass(frozen=True, slots=True)
class RecordDecision:
    """Count a decision and report it to the journal."""

    lane: str
    client: GateClient
    request: Request
    decision: Decision


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Stop reading from the client until its connection is joined, refused or goes on."""


@dataclass(frozen=True, slots=True)
class ExtendDeadline:
    """Give the client the time of another request head."""


type Command = (
    AwaitHello | AwaitRequest | AcceptConnect | CheckPassword | Resolve | Dial | Join | HandOver | Release
    | Refuse | ServePac | Deny | Close | SwitchClient | RecordDecision | PauseReading | ExtendDeadline
)  # fmt: skip

type Commands = tuple[Command, ...]
"""Commands in the order in which they are to be carried out."""
