"""Sites that are used as tunnels in spite of the certificate, as by WebSocket.

Their pages are read, and what follows is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hedgerow.proxy.inspection.clients import ClientRegistry
from hedgerow.proxy.inspection.connection import InspectedConnection
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.proxy.tunnel_traffic import TunnelTraffic, TunnelUse


class InspectedTraffic:
    """The traffic of an inspector's connections, judged every `judging_seconds`."""

    judging_seconds = 60.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._traffic = TunnelTraffic()
        self._minute = 0
        self._uses: dict[InspectedConnection, Callable[[], TunnelUse]] = {}

    def applied_to(self, policy: ProxyPolicy) -> ProxyPolicy:
        """Return a policy that also blocks the sites that are used as tunnels."""
        return replace(
            policy, decide=lambda ruleset, request: self._traffic.decide(policy, ruleset, request, self._clock())
        )

    def note(self, clients: ClientRegistry, inspected: InspectedConnection) -> None:
        """Note whose a busy connection is, as long as that is known, and whether nothing is known of its host."""
        if inspected in self._uses or (found := clients.find(inspected.client.id)) is None or not inspected.host:
            return
        device, ruleset = found
        is_guarded = bool(ruleset.rules.bypass) and (device.known or ruleset.may_be_a_childs)
        self._uses[inspected] = partial(
            inspected.take_use,
            clients.address(inspected.client),
            device.id,
            is_unlisted=is_guarded and clients.policy.is_examined(ruleset, inspected.host),
        )

    def close_tunnels(self, policy: ProxyPolicy) -> bool:
        """Judge the last minute when it is over. Return whether sites were closed."""
        now = self._clock()
        minute = int(now // self.judging_seconds)
        if minute == self._minute:
            return False
        before, self._minute = self._minute, minute
        uses = [take_use() for take_use in self._uses.values()]
        self._uses.clear()
        return self._traffic.close_tunnels(before, uses, policy, now)
