"""Reports of a worker's clients to control: the devices seen, and the protections that they use."""

from __future__ import annotations

import time
from collections.abc import Callable

from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.protection import Protection
from hedgerow.policies.ruleset import Ruleset

INTERVAL_S = 300.0
MAX_DEVICES = 65536


class SightingReporter:
    """Sends each sighting on a change and every few minutes."""

    def __init__(self, send: Callable[[DeviceSeen | ProtectionSeen], None]) -> None:
        self._send = send
        self._seen: dict[DeviceId, tuple[float, str]] = {}
        self._protected: dict[tuple[DeviceId, Protection], float] = {}

    def report_device(self, device: Device, ruleset: Ruleset, address: str, mac: str | None) -> None:
        """Report that a device was seen at an address."""
        now = time.time()
        last, last_address = self._seen.get(device.id, (0.0, ""))
        if now - last < INTERVAL_S and address == last_address:
            return
        if len(self._seen) >= MAX_DEVICES:
            self._seen.clear()
        self._seen[device.id] = (now, address)
        self._send(DeviceSeen(now, device.id, address, mac, device.person, ruleset.profile))

    def report_protection(self, device: DeviceId, protection: Protection) -> None:
        """Report that a device used a protection."""
        now = time.time()
        if now - self._protected.get((device, protection), 0.0) < INTERVAL_S:
            return
        if len(self._protected) >= MAX_DEVICES:
            self._protected.clear()
        self._protected[device, protection] = now
        self._send(ProtectionSeen(now, device, protection))
