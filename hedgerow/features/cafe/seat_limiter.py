"""The bandwidth of a café's seats, which the gateway's process keeps as the policy in force describes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time

from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.reconciling import keep_reconciled
from hedgerow.features.cafe.bandwidth import (
    FAMILY,
    SeatBytes,
    SeatLine,
    increase,
    parse_seat_bytes,
    render_bandwidth,
    render_bandwidth_removal,
    seat_lines,
)
from hedgerow.features.contract import GatewayCore
from hedgerow.journal.event_sender import MetricSeries
from hedgerow.network import gateway as nftables
from hedgerow.policies.model import DeviceId

log = logging.getLogger("hedgerow.seats")

LOOK_EVERY_S = 2.0
"""Seconds between two readings of the counters."""


class SeatLimiter:
    """Keeper of nftables' table of seats and of the interfaces' queueing discipline, while there is a gateway and the
    policy has limits.

    `view` returns the snapshot in force, None during start-up. Whatever is wrong is logged once and tried again: no
    seat is closed for it.
    """

    def __init__(self, core: GatewayCore) -> None:
        self._settings, self._view, self._report = core.settings, core.view, core.report
        self._in_force: tuple[tuple[str, ...], tuple[SeatLine, ...]] | None = None
        self._counted: dict[DeviceId, SeatBytes] = {}
        self._totals: dict[MetricSeries, float] = {}
        self._looked = 0.0
        # Changes run in threads, for pyroute2, and the last one may still be at work at the end.
        self._lock = threading.Lock()

    async def run(self) -> None:
        """Keep the limits until cancelled."""
        # Imported late for its weight: most machines have no gateway.
        from hedgerow.features.cafe.queueing import QueueingError

        await keep_reconciled(
            self._reconcile,
            self._forget,
            log=log,
            failure="The bandwidth of seats can't be limited: %s",
            errors=(nftables.GatewayError, QueueingError, OSError, ValueError),
        )

    def _forget(self) -> None:
        self._in_force = None

    async def close(self) -> None:
        """Remove the limits, and report that nothing moves: nobody would follow the sessions any more."""
        await asyncio.to_thread(self._end)
        self._report(self._totals)

    async def _reconcile(self) -> None:
        view, config = self._view(), GatewayConfig.load(self._settings.state)
        if view is None:
            return
        lan = config.lan if config is not None else ()
        lines = seat_lines(view.rulesets, time.time()) if lan else ()
        ports = await asyncio.to_thread(self._ports, lan) if lines or self._in_force is None else ()
        present = ports if lines else ()
        if (present, lines) != self._in_force:
            # What an earlier run left is removed too.
            before = self._in_force[0] if self._in_force is not None else ports
            await asyncio.to_thread(self._apply, present, lines, set(before) - set(present))
            self._report(self._totals)
        elif lines and time.monotonic() - self._looked > LOOK_EVERY_S:
            await asyncio.to_thread(self._look)
            self._report(self._totals)

    @staticmethod
    def _ports(lan: tuple[str, ...]) -> tuple[str, ...]:
        from hedgerow.network.interfaces import device_ports

        return device_ports(lan) if lan else ()

    def _end(self) -> None:
        with self._lock:
            in_force = self._in_force
        if in_force is None or in_force[1]:
            config = GatewayConfig.load(self._settings.state) if in_force is None else None
            # After an error, nobody knows what is in place.
            ports = in_force[0] if in_force is not None else self._ports(config.lan if config is not None else ())
            with contextlib.suppress(nftables.GatewayError):
                self._apply((), (), set(ports))

    def _apply(self, interfaces: tuple[str, ...], lines: tuple[SeatLine, ...], freed: set[str]) -> None:
        with self._lock:
            self._change(interfaces, lines, freed)

    def _change(self, interfaces: tuple[str, ...], lines: tuple[SeatLine, ...], freed: set[str]) -> None:
        from hedgerow.features.cafe import queueing

        if self._in_force is not None:
            self._look()
        self._in_force, self._counted, self._looked = None, {}, time.monotonic()
        self._totals |= {series: 0.0 for series in self._totals if series[0] == "hedgerow_seat_bytes_per_second"}
        for name in freed:
            queueing.free_interface(name)
        if lines:
            nftables.apply(render_bandwidth(interfaces, lines))
            rates = {number: line.limit.down for number, line in enumerate(lines, 1) if line.limit is not None}
            for name in interfaces:
                queueing.limit_interface(name, rates)
        else:
            nftables.apply(render_bandwidth_removal())
        self._in_force = (interfaces, lines)

    def _look(self) -> None:
        """Add up the counters. If somebody has removed the table or the queueing discipline, both are made again."""
        from hedgerow.features.cafe import queueing

        assert self._in_force is not None
        interfaces, lines = self._in_force
        listing = nftables.list_counters(FAMILY) if lines else []
        found = parse_seat_bytes(listing, lines) if listing is not None else None
        now, before = time.monotonic(), self._looked
        self._looked = now
        if found is None or not all(map(queueing.is_limited, interfaces)):
            self._in_force, self._counted = None, {}
            return
        for seat, moved in increase(self._counted, found).items():
            for direction, octets in (("down", moved.down), ("up", moved.up)):
                total = ("hedgerow_seat_bytes_total", seat, direction)
                self._totals[total] = self._totals.get(total, 0.0) + octets
                self._totals["hedgerow_seat_bytes_per_second", seat, direction] = octets / max(0.1, now - before)
        self._counted = found
