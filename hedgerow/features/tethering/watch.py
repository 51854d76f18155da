"""The devices that forward, as the gateway's process reports them, and notices about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.words.languages import message
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.tethering.settings import allowed_devices
from hedgerow.network.gateway import TETHERING_LEVEL
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.model import Device, Policy
from hedgerow.policies.notices import NoticeTopic
from hedgerow.task_state import Area

REPORTS, PAUSE_S = 2, 100.0
"""Number of reports, at most so many seconds apart, that are not a passing sign such as an address that changes hands.
"""
FORGET_S = 86400.0


@dataclass(slots=True)
class _Sighting:
    reports: int
    last: float
    reported: float


@dataclass(slots=True)
class TetheringWatch:
    """The devices that forwarded something within a day."""

    policy: Callable[[], Policy]
    notify: Callable[[Sequence[Notice]], None]
    clock: Callable[[], float] = time.time
    _seen: dict[str, _Sighting] = field(default_factory=dict)

    def note(self, mac: str, when: float) -> None:
        """Take the report that a device forwarded at `when`, and send a notice if it goes on.

        Each connection to the gateway's process begins with all that it has reported: old reports count for nothing,
        and one that comes again counts once.
        """
        now = self.clock()
        last = self._seen.get(mac)
        if now - when > PAUSE_S or (last is not None and when <= last.reported):
            return
        is_known = last is not None and (last.reports >= REPORTS or now - last.last <= PAUSE_S)
        self._seen[mac] = _Sighting((last.reports if last is not None and is_known else 0) + 1, now, when)
        if self._seen[mac].reports >= REPORTS:
            text = message(
                "%(who)s passes on what other devices send, as a hotspot or a computer with Docker does. That has the"
                " rules of devices without a name until you say on Today that it is the device's own."
            )
            self.notify(
                [
                    Notice(NoticeTopic.BYPASS, f"{device.id} tethers", localized(text, who=device.id))
                    for device in self.devices()
                    if mac in device.macs
                ]
            )

    def devices(self) -> list[Device]:
        """Return the devices that the owner should be asked about."""
        policy, now = self.policy(), self.clock()
        if all(name != "bypass" for _, name in EffectiveUsers(policy).blocked_to_strangers):
            return []  # what others send is open anyway
        self._seen = {mac: each for mac, each in self._seen.items() if now - each.last < FORGET_S}
        macs = {mac for mac, each in self._seen.items() if each.reports >= REPORTS}
        allowed = allowed_devices(policy)
        return [each for each in policy.devices.values() if each.id not in allowed and not macs.isdisjoint(each.macs)]


def watch_of(core: Core) -> TetheringWatch:
    """Make the part of control that knows the devices that forward."""
    return TetheringWatch(policy=lambda: core.policy, notify=core.notify)


def tethering_service(core: Core) -> ControlService:
    """Return the service that takes what the gateway's process reports."""
    watch = core.part(watch_of)
    return ControlService(
        name="tethering",
        area=Area.GATEWAY,
        run=asyncio.Event().wait,
        handles={TETHERING_LEVEL: lambda _batch, level: watch.note(level.labels[0], level.value)},
    )
