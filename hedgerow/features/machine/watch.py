"""The machine's state, read at most every ten seconds, and what people should know of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from hedgerow.features.contract import ControlService, Core
from hedgerow.features.machine.readings import Readings, read_machine
from hedgerow.task_state import Area, StatusRow
from hedgerow.ticks import next_tick

KEPT_S: Final = 10.0
LOOK_S: Final = 60.0
HOT: Final = 80.0
"""Degrees Celsius from which on small computers slow down."""

LITTLE: Final = 0.05
"""Share of the memory below which it is nearly used up."""

SUPPLY, HEAT, MEMORY, DISK = "power supply", "temperature", "memory", "disk"


class Machine:
    """Readings of the machine, for any thread."""

    def __init__(
        self, state: Path, root: Path = Path("/"), clock: Callable[[], float] = time.time, kept_s: float = KEPT_S
    ) -> None:
        self._state, self._root, self._clock, self._kept_s = state, root, clock, kept_s
        self._lock = threading.Lock()
        self._read_at = -1.0
        self._last: Readings | None = None

    def read(self) -> Readings:
        """Return readings that are at most ten seconds old. Waits for the kernel."""
        with self._lock:
            if self._last is None or time.monotonic() - self._read_at >= self._kept_s:
                self._last, self._read_at = read_machine(self._state, self._clock(), self._root), time.monotonic()
            return self._last

    def status(self) -> tuple[StatusRow, ...]:
        """Return what was wrong at the last look."""
        return () if self._last is None else tuple(problems(self._last))

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while True:
            await asyncio.to_thread(self.read)
            await next_tick(LOOK_S)


def problems(found: Readings) -> Iterator[StatusRow]:
    """Yield what is wrong with a machine."""
    if found.is_read_only:
        yield StatusRow(
            DISK, "takes no writes any more, so nothing is kept", "restart the machine, and replace its disk"
        )
    elif found.disk_errors:
        count = f"{found.disk_errors} errors" if found.disk_errors > 1 else "an error"
        yield StatusRow(DISK, f"has had {count}, and may fail soon", "make a backup, and replace the card or disk")
    if found.undervoltage:
        yield StatusRow(
            SUPPLY, "gives too little, so the machine may stop", "use the power supply made for this machine"
        )
    if found.celsius is not None and found.celsius >= HOT:
        yield StatusRow(HEAT, f"{found.celsius:.0f} °C, so the machine slows down", "let air reach the machine")
    elif found.throttled and not found.undervoltage:
        yield StatusRow(HEAT, "so high that the machine slows down", "let air reach the machine")
    if (
        found.memory_total is not None
        and found.memory_available is not None
        and found.memory_available < LITTLE * found.memory_total
    ):
        yield StatusRow(MEMORY, "nearly used up", "end other programs on this machine")


def machine_of(core: Core) -> Machine:
    """Make the feature's part of control."""
    return Machine(core.settings.state, clock=core.clock)


def machine_service(core: Core) -> ControlService:
    """Return the service that looks at the machine."""
    machine = core.part(machine_of)
    return ControlService(name="look at the machine", area=Area.UPKEEP, run=machine.run, status=machine.status)
