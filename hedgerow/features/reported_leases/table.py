"""DHCP leases that other machines report, for networks behind routers, where no MAC address arrives here.

They are kept in a file of the state directory, so that a restart forgets none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from hedgerow.codec import decode, encode
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.reported_leases import FEATURE
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.network.discovery import Lease
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.leases")

LEASES_LIMIT = 65_536
WRITE_EVERY_S = 1.0
_ROUNDS_PER_LOOK = 10


class LeaseTable:
    """Reported leases by IP address. They count at once, and are kept within a second.

    `on_change` is called after each change of the device at an address, on the event loop.
    """

    def __init__(self, path: Path, on_change: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self._path, self._on_change, self._clock = path, on_change, clock
        self._leases = _load(path)
        self._is_written, self._problem = True, ""

    def leases(self) -> tuple[Lease, ...]:
        """Return the leases that have not ended."""
        now = self._clock()
        return tuple(each for each in self._leases.values() if _holds(each, now))

    def macs(self) -> dict[str, str]:
        """Return the MAC addresses by IP address."""
        return {each.address: each.mac for each in self.leases()}

    def report(self, lease: Lease) -> None:
        """Put a lease in place of an earlier one of its address.

        Raises `InvalidInput` if it has ended, or if there are too many.
        """
        if not _holds(lease, self._clock()):
            raise InvalidInput("This lease has ended already, or one of the two clocks is wrong.").at("until")
        before = self._leases.get(lease.address)
        if before is None and len(self._leases) >= LEASES_LIMIT:
            raise InvalidInput("There are too many leases.")
        self._leases[lease.address] = lease
        self._is_written = self._is_written and lease == before
        if before is None or before.mac != lease.mac or not _holds(before, self._clock()):
            self._on_change()

    def remove(self, address: str) -> None:
        """Remove the lease of an address. Raises `NoSuchEntry`."""
        if self._leases.pop(address, None) is None:
            raise NoSuchEntry(f"there is no lease of {address}")
        self._is_written = False
        self._on_change()

    async def run(self) -> None:
        """Write changes once a second, and remove leases that have ended, until cancelled; then write once more."""
        try:
            for rounds in count(1):
                await next_tick(WRITE_EVERY_S)
                if rounds % _ROUNDS_PER_LOOK == 0:
                    self._remove_ended()
                await self.save()
        finally:
            await self.save()

    async def save(self) -> None:
        """Write what has changed. If that fails, it is logged once and tried again by the next call."""
        if self._is_written:
            return
        leases, self._is_written = tuple(self._leases.values()), True
        try:
            await asyncio.to_thread(lambda: write_atomically(self._path, encode(leases)))
        except OSError as error:
            if self._problem != error_text(error):
                log.warning("Can't write %s: %s", self._path, error_text(error))
            self._problem, self._is_written = error_text(error), False
        else:
            self._problem = ""

    def _remove_ended(self) -> None:
        current = {each.address: each for each in self.leases()}
        if len(current) < len(self._leases):
            self._leases, self._is_written = current, False
            self._on_change()


def lease_service(core: Core) -> ControlService:
    """Return the service that keeps the reported leases."""
    table = LeaseTable(core.settings.state / FEATURE.state_file, core.snapshots.request, core.clock)
    return ControlService(name="leases", run=table.run, area=Area.DEVICES, leases=table.macs, part=table)


def _holds(lease: Lease, now: float) -> bool:
    return lease.until is None or lease.until > now


def _load(path: Path) -> dict[str, Lease]:
    try:
        return {each.address: each for each in decode(tuple[Lease, ...], path.read_bytes())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("The reported leases can't be read, so none is known: %s", error)
        return {}
