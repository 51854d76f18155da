"""Minutes of use by forwarded traffic: games, calls and other connections that neither the proxy nor DNS sees."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.network import gateway as nftables
from hedgerow.network.traffic_rules import TrafficCounters
from hedgerow.policies.activity import MIN_BUSY_BYTES, total_meters
from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.policies.times.budget import minute_of
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.traffic")

READ_INTERVAL_S = 5.0


class TrafficMeter:
    """The devices that moved more than `MIN_BUSY_BYTES` in the running minute, from successive readings of the
    counters.
    """

    def __init__(self) -> None:
        self._before: TrafficCounters | None = None
        self._minute = 0
        self._moved: dict[DeviceId, int] = {}

    def read(
        self, counters: TrafficCounters | None, neighbours: Mapping[str, str], rulesets: Rulesets, now: float
    ) -> list[ActiveMinute]:
        """Return the minutes of use up to `now`.

        `counters` None: there is no table. `neighbours` maps IP to MAC addresses.
        """
        before, self._before = self._before, counters
        if before is None or counters is None:
            return []  # nobody knows how old the first counts are
        minute = minute_of(now - READ_INTERVAL_S / 2)
        if minute != self._minute:
            self._minute, self._moved = minute, {}
        addresses = {mac: address for address, mac in sorted(neighbours.items(), reverse=True)}
        moved: list[tuple[str, str | None, int]] = [
            (addresses.get(mac, ""), mac, octets) for mac, octets in _increase(before.sent, counters.sent)
        ]
        moved += [
            (address, neighbours.get(address), octets)
            for address, octets in _increase(before.received, counters.received)
        ]
        found: dict[ActiveMinute, None] = {}
        for address, mac, octets in moved:
            device = rulesets.devices.find(address, mac)
            if device is not None:
                found |= dict.fromkeys(self._add(device, octets, rulesets, now))
        return list(found)

    def _add(self, device: Device, octets: int, rulesets: Rulesets, now: float) -> Iterable[ActiveMinute]:
        moved = self._moved[device.id] = self._moved.get(device.id, 0) + octets
        ruleset = rulesets.ruleset(device, now)
        if moved < MIN_BUSY_BYTES or ruleset.closed is not None:
            return ()
        return (ActiveMinute(self._minute, meter.account, meter.subject) for meter in total_meters(ruleset, device.id))


def _increase(before: Mapping[str, int], after: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the bytes since the last reading. A counter that is smaller than before has started again."""
    return [(key, count - (last if (last := before.get(key, 0)) <= count else 0)) for key, count in after.items()]


async def count_traffic(
    settings: Settings,
    view: Callable[[], LoadedSnapshot | None],
    neighbours: Callable[[], Mapping[str, str]],
    report: Callable[[ActiveMinute], None],
) -> None:
    """Read the counters every few seconds while there is a gateway, until cancelled, and report the minutes of use."""
    meter, logged = TrafficMeter(), ""
    while True:
        await next_tick(READ_INTERVAL_S)
        snapshot = view()
        try:
            has_gateway = GatewayConfig.load(settings.state) is not None
            counters = await asyncio.to_thread(nftables.traffic_counters) if has_gateway else None
            logged = ""
        except (nftables.GatewayError, OSError, ValueError) as error:
            counters = None
            if str(error) != logged:
                log.warning("The traffic of devices can't be counted: %s", error)
            logged = str(error)
        if snapshot is not None:
            for minute in meter.read(counters, neighbours(), snapshot.rulesets, time.time()):
                report(minute)
