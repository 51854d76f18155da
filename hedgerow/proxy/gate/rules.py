"""The rules that a gate applies: the policy in force, with caches of its decisions and of resolved hosts."""

from __future__ import annotations

from hedgerow.policies.model import Decision, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.commands import AcceptConnect, Command, GateClient, HandOver
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import Authority, RequestHead
from hedgerow.proxy.policy import ProxyPolicy, ResolvedHostCache
from hedgerow.proxy.sign_in import ProxyAuthenticator
from hedgerow.values import BoundedDict, value_dataclass

_MAX_DECISIONS = 8192
_MAX_CONNECTS, _MAX_CONNECT = 1024, 512
"""CONNECTs that are remembered, and the bytes of one."""


@value_dataclass(frozen=True, slots=True)
class KnownConnect:
    """A CONNECT that was accepted or handed over by `command`: the `client` at that time, and the `request` judged with
    its `verdict`.
    """

    client: GateClient
    head: RequestHead
    request: Request
    verdict: Verdict
    command: AcceptConnect | HandOver


class GateRules:
    """The `policy` in force, and the `hosts` that were resolved under it. `key` signs the tickets of block pages."""

    def __init__(self, policy: ProxyPolicy, key: bytes, authenticator: ProxyAuthenticator) -> None:
        self.key = key
        self.authenticator = authenticator
        self.swap(policy)

    def swap(self, policy: ProxyPolicy) -> None:
        """Put another snapshot's policy in force."""
        self.policy = policy
        self.hosts = ResolvedHostCache(policy.resolve)
        self._decisions = BoundedDict[tuple[Ruleset, str, bool, str], Decision](_MAX_DECISIONS)
        self._connects = BoundedDict[tuple[str, bytes], KnownConnect](_MAX_CONNECTS)

    def find_client(self, address: str) -> GateClient | None:
        """Return the client at an address (or `user:NAME`) with the ruleset in force for it now, or None for
        outsiders.
        """
        found = self.policy.find_client(address)
        return GateClient(address, *found) if found is not None else None

    def decide(self, client: GateClient, request: Request) -> Decision:
        """Return the decision on a tunnel: that of `ProxyPolicy.decide`, adapted by `apply_pass_through`."""
        ruleset = client.ruleset
        key = (ruleset, request.host, request.hides_host, request.flaw)
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._decisions[key] = self.policy.decide(ruleset, request)
        if decision.verdict is Verdict.INSPECT:
            return self.policy.apply_pass_through(ruleset, request, decision)  # not cached: it may change at any time
        return decision

    def note_connect(self, client: GateClient, data: bytes, head: RequestHead, emitted: tuple[Command, ...]) -> None:
        """Remember the command that followed from a CONNECT, if it was accepted or handed over.

        `data` is all that its client had sent.
        """
        match emitted:
            case (AcceptConnect(target, _, False) as command,) | (
                HandOver(HandoverHeader(_, Authority() as target, True)) as command,
            ) if len(data) <= _MAX_CONNECT and not head.get("proxy-authorization"):  # which depends on who signed in
                request = Request(client.device.id, RequestKind.TUNNEL, target.host, target.port)
                self._connects[client.address, data] = KnownConnect(
                    client, head, request, self.decide(client, request).verdict, command
                )

    def repeated_connect(self, address: str, data: bytes) -> KnownConnect | None:
        """Return what was noted of a connection that begins with `data`, if the same would follow from it today.

        A browser repeats its CONNECT for each connection to a host.
        """
        known = self._connects.get((address, data))
        if known is None or self.policy.find_client(address) != (known.client.device, known.client.ruleset):
            return None
        return known if self.decide(known.client, known.request).verdict is known.verdict else None

    def unlisted(self, client: GateClient, requests: tuple[Request, ...], decision: Decision) -> Request | None:
        """Return the first request for a host of which nothing is known, if its server is to be examined for this
        client.

        Without children, nobody has to be protected from strangers' machines, such as a lamp whose maker has an
        authority of its own.
        """
        if (
            not (client.device.known or client.ruleset.may_be_a_childs)
            or not client.ruleset.rules.bypass
            or decision.reason not in {Reason.DEFAULT, Reason.RECOGNISED}
        ):
            return None
        return next((each for each in requests if self.policy.is_examined(client.ruleset, each.host)), None)

    def is_helpline(self, client: GateClient, host: str) -> bool:
        return self.decide(client, Request(client.device.id, RequestKind.TUNNEL, host)).reason is Reason.LIFELINE

    def ruleset_allowing(self, address: str, requests: tuple[Request, ...]) -> Ruleset | None:
        """Return the ruleset under which a tunnel for `requests` may run now, or None if it may not."""
        client = self.find_client(address)
        if client is None or any(
            self.decide(client, each).verdict in {Verdict.BLOCK, Verdict.INSPECT} for each in requests
        ):
            return None
        return client.ruleset
