"""The gateway's set of devices that may forward, written from the policy."""

from __future__ import annotations

import asyncio
import contextlib

from hedgerow.features.contract import ControlService, GatewayCore
from hedgerow.features.tethering.settings import allowed_devices
from hedgerow.network.nft_sets import MAX_ELEMENTS, SetElement
from hedgerow.network.source_rules import TETHER_SET
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

LOOK_EVERY_S, RENEW_EVERY_S, TIMEOUT_S = 1.0, 5.0, 60


class AllowedDevices:
    """Writer of the set, which is renewed since the table may be replaced at any time."""

    def __init__(self, core: GatewayCore) -> None:
        self._core = core
        self._written: frozenset[str] = frozenset()
        self._wrote_at = 0.0

    async def run(self) -> None:
        """Keep the set as the policy says, until cancelled."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # there is no table at the moment
                self.step(asyncio.get_running_loop().time())
            await next_tick(LOOK_EVERY_S)

    def step(self, now: float) -> None:
        """Write what has changed, or all if it is due. Raises OSError."""
        policy = self._core.policy
        if policy is None:
            return
        devices = (policy.devices[name] for name in allowed_devices(policy) if name in policy.devices)
        wanted = frozenset(mac for device in devices for mac in device.macs)
        if wanted == self._written and (not wanted or now - self._wrote_at < RENEW_EVERY_S):
            return
        removed = {TETHER_SET: [_element(mac) for mac in sorted(self._written - wanted)]}
        self._core.writer.write({TETHER_SET: [_element(mac) for mac in sorted(wanted)[:MAX_ELEMENTS]]}, removed)
        self._written, self._wrote_at = wanted, now


def _element(mac: str) -> SetElement:
    return SetElement(bytes.fromhex(mac.replace(":", "")), TIMEOUT_S)


def allowed_service(core: GatewayCore) -> ControlService:
    """Return the service that keeps the set."""
    return ControlService(name="tethering", area=Area.GATEWAY, run=AllowedDevices(core).run)
