"""The protections that are live on each device, from what the workers saw. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.journal.sightings import ProtectionRow
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Device

IDLE_AFTER_S = 3 * 86400.0
"""Seconds of other use after which a protection that was not used any more is no longer live."""


class ProtectionState(StrEnum):
    LIVE = "live"
    IDLE = "idle"  # used before, but not lately although the device was in use
    NEVER = "never"  # not used yet
    REFUSED = "refused"  # the certificate only: the device rejects it
    OFF = "off"  # not set up: no gateway on this machine, or no inspection in the policy


@dataclass(frozen=True, slots=True)
class ProtectionStatus:
    """The state of one protection, and the instant of its last use (seconds since the epoch; None: never)."""

    state: ProtectionState
    seen: float | None = None

    @property
    def is_live(self) -> bool:
        return self.state is ProtectionState.LIVE


@dataclass(frozen=True, slots=True)
class DeviceProtections:
    """The protections of one device.

    Names are filtered by DNS, connections by proxy or gateway, pages only under the certificate.
    """

    dns: ProtectionStatus
    proxy: ProtectionStatus
    certificate: ProtectionStatus
    gateway: ProtectionStatus

    @property
    def is_connected(self) -> bool:
        """True if its web connections pass the proxy, whether it knows or not."""
        return self.proxy.is_live or self.gateway.is_live


def protections_by_device(
    devices: Iterable[Device], rows: Iterable[ProtectionRow], *, has_gateway: bool
) -> Mapping[str, DeviceProtections]:
    """Return the protections of each device by its id. `has_gateway` is as in `Status`."""
    seen: dict[str, dict[Protection, float]] = defaultdict(dict)
    for row in rows:
        seen[row.device][row.protection] = row.at
    return {device.id: _protections(device, seen.get(device.id, {}), has_gateway) for device in devices}


def _protections(device: Device, seen: Mapping[Protection, float], has_gateway: bool) -> DeviceProtections:
    newest = max(seen.values(), default=0.0)

    def status(protection: Protection, *, is_on: bool = True) -> ProtectionStatus:
        at = seen.get(protection)
        if not is_on:
            return ProtectionStatus(ProtectionState.OFF, at)
        if at is None:
            return ProtectionStatus(ProtectionState.NEVER)
        return ProtectionStatus(ProtectionState.LIVE if newest - at <= IDLE_AFTER_S else ProtectionState.IDLE, at)

    certificate = status(Protection.CERTIFICATE, is_on=device.trusts_ca and not device.never_inspect)
    refused = seen.get(Protection.REFUSED_CERTIFICATE)
    # A single app may be pinned to its own certificate, on a device whose browsers accept ours.
    if refused is not None and certificate.state in (ProtectionState.NEVER, ProtectionState.IDLE):
        certificate = ProtectionStatus(ProtectionState.REFUSED, certificate.seen)
    gateway = status(Protection.GATEWAY, is_on=has_gateway)
    return DeviceProtections(status(Protection.DNS), status(Protection.PROXY), certificate, gateway)
