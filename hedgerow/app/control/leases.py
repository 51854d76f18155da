"""DHCP leases that other machines report, for networks behind routers, where no MAC address arrives here.

They are kept in the state directory, so that a restart forgets none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from hedgerow.codec import decode, encode
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.network.discovery import Lease

log = logging.getLogger("hedgerow.leases")

_LOOK_EVERY_S = 10.0


class LeaseTable:
    """Reported leases by IP address. `on_change` is called after each change, on the event loop."""

    def __init__(self, path: Path, on_change: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self._path, self._on_change, self._clock = path, on_change, clock
        self._leases = _load(path)
        self._writing = asyncio.Lock()

    def leases(self) -> tuple[Lease, ...]:
        """Return the leases that have not ended."""
        now = self._clock()
        return tuple(each for each in self._leases.values() if each.until is None or each.until > now)

    def macs(self) -> dict[str, str]:
        """Return the MAC addresses by IP address."""
        return {each.address: each.mac for each in self.leases()}

    async def report(self, lease: Lease) -> None:
        """Put a lease in place of an earlier one of its address. Raises OSError if it can't be kept."""
        before = self._leases.get(lease.address)
        self._leases[lease.address] = lease
        await self._keep(is_other=before is None or before.mac != lease.mac)

    async def remove(self, address: str) -> None:
        """Remove the lease of an address. Raises `NoSuchEntry`, and OSError if that can't be kept."""
        if self._leases.pop(address, None) is None:
            raise NoSuchEntry(f"there is no lease of {address}")
        await self._keep(is_other=True)

    async def run(self) -> None:
        """Remove leases that have ended, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            current = {each.address: each for each in self.leases()}
            if len(current) < len(self._leases):
                self._leases = current
                try:
                    await self._keep(is_other=True)
                except OSError as error:
                    log.warning("Can't write %s: %s", self._path, error_text(error))

    async def _keep(self, *, is_other: bool) -> None:
        if is_other:
            self._on_change()
        async with self._writing:
            await asyncio.to_thread(write_atomically, self._path, encode(tuple(self._leases.values())))


def _load(path: Path) -> dict[str, Lease]:
    try:
        return {each.address: each for each in decode(tuple[Lease, ...], path.read_bytes())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("The reported leases can't be read, so none is known: %s", error)
        return {}
