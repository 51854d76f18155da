"""The tunnel home in the web server of tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.away.tunnel import TunnelHome, tunnel_of
from hedgerow.features.away.wireguard import PeerActivity, TunnelSecrets, public_key_of
from hedgerow.policies.model import Device, Policy


class FixedTunnel:
    """A policy's tunnel, with fixed keys and a device that has just connected."""

    def __init__(self, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
        self._policy, self._clock, self._secrets = policy, clock, TunnelSecrets(bytes(range(32)), bytes(32))

    def home(self) -> TunnelHome:
        tunnel = self._policy().network.tunnel
        if tunnel is None:
            raise InvalidInput("There is no tunnel here.")
        return TunnelHome(tunnel, public_key_of(self._secrets.private), ("192.168.1.2",), self._secrets.preshared_key)

    def activity(self, device: Device) -> PeerActivity:
        return PeerActivity(self._clock() - 60, 5_000_000, 90_000_000) if device.tunnel else PeerActivity()


def parts(*, policy: Callable[[], Policy], clock: Callable[[], float], **_core: object) -> dict[Any, Any]:
    """Return the tunnel, by the function that makes the feature's own."""
    return {tunnel_of: FixedTunnel(policy, clock)}
