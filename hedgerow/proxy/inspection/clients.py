"""The clients of an inspector and the requests that it let through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mitmproxy.connection import Client

from hedgerow.policies.model import Device, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.values import value_dataclass

EXPLICITLY_ALLOWED = frozenset({Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION})
"""Reasons of decisions by which somebody opened a site by its name."""


class ClientRejected(Exception):
    """The client may not use the inspector. Its connection is closed without an answer."""


@value_dataclass(frozen=True, slots=True)
class ActiveRequest:
    """A request that was let through and is not over. It is judged again when the policy changes.

    `is_explicitly_allowed`: somebody opened it by name, so its content is not scanned, except that YouTube shows chosen
    channels only. `is_granted`: somebody opened that too.
    """

    client: Client
    address: str
    ruleset: Ruleset
    requests: tuple[Request, ...]
    is_explicitly_allowed: bool = False
    is_granted: bool = False


class ClientRegistry:
    """The policy in force, the clients for which the gate vouches, and their active requests by flow id."""

    def __init__(self, policy: ProxyPolicy) -> None:
        self.policy = policy
        self.active: dict[str, ActiveRequest] = {}
        self._of_client: dict[str, set[str]] = {}  # ids of flows by the client's
        self._addresses: dict[str, str] = {}

    def admit(self, client: Client, address: str) -> None:
        """Serve this client until `leave`."""
        self._addresses[client.id] = address

    def leave(self, client: Client) -> None:
        """Forget a client whose connection is over."""
        self._addresses.pop(client.id, None)
        for id in self._of_client.pop(client.id, ()):
            self.active.pop(id, None)

    def begin(self, id: str, request: ActiveRequest) -> None:
        """Note a request that was let through, by its flow's id, until `end`."""
        self.active[id] = request
        self._of_client.setdefault(request.client.id, set()).add(id)

    def end(self, id: str) -> None:
        """Forget a request that is over, if it was let through."""
        active = self.active.pop(id, None)
        if active is not None and (of_client := self._of_client.get(active.client.id)) is not None:
            of_client.discard(id)

    def address(self, client: Client) -> str:
        """Return the address, or the name after signing in, under which the gate introduced a client."""
        return self._addresses[client.id]

    def find(self, client_id: str) -> tuple[Device, Ruleset] | None:
        """Return a client's device and the ruleset in force for it."""
        return self.policy.find_client(self._addresses.get(client_id, ""))

    def active_of(self, client: Client) -> Iterator[ActiveRequest]:
        """Yield a client's active requests."""
        return (self.active[id] for id in tuple(self._of_client.get(client.id, ())))

    def recheck(self, is_due: Callable[[ActiveRequest], bool], close: Callable[[Client], None]) -> int:
        """Judge the active requests that are due again, and `close` the client of each that is not allowed.

        Return their number.
        """
        count = 0
        for id, active in tuple(self.active.items()):
            if not is_due(active):
                continue
            found = self.policy.find_client(active.address)
            if found is None or any(
                self.policy.decide(found[1], each).verdict is Verdict.BLOCK for each in active.requests
            ):
                close(active.client)
                count += 1
            else:
                self.active[id] = replace(active, ruleset=found[1])
        return count
