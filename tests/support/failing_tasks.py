"""The command `hedgerow` whose watched tasks fail when a test orders it: `python failing_tasks.py FILE up ...`.

Each task runs its real coroutine function and, beside it, looks for an order to raise an error. Orders, and the names
of the tasks of each process, are in memory that all processes share with the test through a file, since confined
processes can open none.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from hedgerow.task_state import Area
from hedgerow.watched_tasks import Run, WatchedTasks

ROLES = ("supervisor", "control", "dns", "gate", "inspector", "gateway")
_PART = 4096  # octets: of the order, and then of the names in each process
_LOOK_EVERY_S = 0.05


class BrokenPart(Exception):
    """The error of a task that was ordered to fail."""


class SharedOrders:
    """The memory that is shared with all processes: one order at a time, and the names of the tasks that run."""

    def __init__(self, path: Path) -> None:
        size = _PART * (1 + len(ROLES))
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)

    def order(self, role: str, name: str) -> None:
        """Have a task raise an error."""
        self._write(0, f"{role}/{name}")

    @property
    def is_waiting(self) -> bool:
        """True until the task has raised the error."""
        return bool(self._read(0))

    def take(self, role: str, name: str) -> bool:
        """Return True if a task is to fail, once."""
        if self._read(0) != f"{role}/{name}":
            return False
        self._write(0, "")
        return True

    def add(self, role: str, name: str) -> None:
        """Add to the tasks of a process."""
        part = _PART * (1 + ROLES.index(role))
        names = self._read(part).split("\n") if self._read(part) else []
        self._write(part, "\n".join(dict.fromkeys([*names, name])))

    def tasks(self, role: str) -> tuple[str, ...]:
        """Return the names of the tasks of a process."""
        return tuple(filter(None, self._read(_PART * (1 + ROLES.index(role))).split("\n")))

    def _read(self, at: int) -> str:
        return self._memory[at : at + _PART].rstrip(b"\0").decode()

    def _write(self, at: int, text: str) -> None:
        self._memory[at : at + _PART] = text.encode().ljust(_PART, b"\0")


def main() -> None:
    orders = SharedOrders(Path(sys.argv.pop(1)))
    start = WatchedTasks.start

    async def run_until_ordered(role: str, name: str, run: Run) -> None:
        work = asyncio.ensure_future(run())
        try:
            while not work.done():
                if orders.take(role, name):
                    raise BrokenPart(f"{name} of {role} was told to fail")
                await asyncio.wait({work}, timeout=_LOOK_EVERY_S)
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def start_failing(self: WatchedTasks, name: str, run: Run, area: Area, **options: Any) -> None:
        orders.add(self.process, name)
        start(self, name, partial(run_until_ordered, self.process, name, run), area, **options)

    with mock.patch.object(WatchedTasks, "start", start_failing):
        from hedgerow.app.cli import main as run_command

        run_command()


if __name__ == "__main__":
    main()
