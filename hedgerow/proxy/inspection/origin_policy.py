"""The addresses of origins that a client may reach, and the blocks that only name resolution reveals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mitmproxy.connection import Client

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Decision, Device, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.http_head import parse_authority
from hedgerow.proxy.inspection.clients import ClientRegistry
from hedgerow.proxy.inspection.failures import NO_ADDRESS, NOT_REACHABLE, NOT_RESOLVED, NOT_SERVED
from hedgerow.proxy.inspection.origins import OriginError
from hedgerow.proxy.policy import Counters, ResolvedHostCache


class ResolutionBlock(str):
    """The text of a failure, with the request that its URL allows, and the decision on a name or address behind its
    host.

    mitmproxy hands on nothing but the text, and hands on this object. What an origin writes is never one.
    """

    ruleset: Ruleset
    request: Request
    decision: Decision


class OriginPolicy:
    """The resolution and the check of clients' destinations."""

    def __init__(self, clients: ClientRegistry, counters: Counters, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._counters = counters
        self._clock = clock
        self._resolved = ResolvedHostCache(clients.policy.resolve)

    def swap(self) -> None:
        """Forget the decisions of the policy before."""
        self._resolved = ResolvedHostCache(self._clients.policy.resolve)

    async def addresses_for(self, client: Client, host: str, port: int) -> tuple[DeviceId, tuple[str, ...]]:
        """Return a client's device, and the addresses of a destination as our resolver gives them, without private
        ones.

        Raises OriginError, with a `ResolutionBlock` if only the resolution has revealed that the request is blocked.
        """
        policy = self._clients.policy
        authority = parse_authority(host if ":" not in host else f"[{host}]", port)
        found = self._clients.find(client.id)
        if found is None or port not in policy.guard.ports:
            raise OriginError(NOT_SERVED)
        device, ruleset = found
        addresses: Iterable[str] = (authority.host,)
        if not is_address(authority.host):
            addresses = await self._resolve(client, device, ruleset, authority.host)
        allowed = policy.guard.allowed(addresses)
        if not allowed:
            self._counters.add("hedgerow_proxy_dropped_total", "destination")
            raise OriginError(NOT_REACHABLE)
        return device.id, allowed

    def known_addresses(self, ruleset: Ruleset, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses that `addresses_for` does, if the resolver gave them a moment ago; none otherwise."""
        guard = self._clients.policy.guard
        if port not in guard.ports:
            return ()
        resolved = self._resolved.known(ruleset, host, self._clock())
        if resolved is None or resolved.decision.verdict is Verdict.BLOCK:
            return ()
        return guard.allowed(resolved.addresses)

    async def _resolve(self, client: Client, device: Device, ruleset: Ruleset, host: str) -> Sequence[str]:
        """Return the addresses of a host. If the name is blocked but a URL on it is allowed, the URL counts."""
        policy = self._clients.policy
        resolved = await self._resolved.resolve(ruleset, device.id, host, self._clock())
        request = next(
            (each for active in self._clients.active_of(client) for each in active.requests if each.host == host), None
        )
        if resolved.decision.verdict is Verdict.BLOCK and request is not None:
            resolved = await policy.resolve(ruleset, device.id, host, url_is_allowed=True)
            if resolved.decision.verdict is Verdict.BLOCK:
                policy.observe(device, ruleset, request, resolved.decision)
                block = ResolutionBlock("the name or address behind the host is blocked")
                block.ruleset, block.request, block.decision = ruleset, request, resolved.decision
                raise OriginError(block)
        if resolved.decision.verdict is Verdict.BLOCK or not resolved.addresses:
            raise OriginError(NOT_RESOLVED if resolved.failed else NO_ADDRESS)
        return resolved.addresses
