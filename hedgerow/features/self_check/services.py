"""The services of a run. The trial of inspection fails, as a task does, while that does not work.

A file or socket of the run that is there may still lead nowhere, and a process that lives may still not do its work. So
an inspector is asked as a gate asks it, for a certificate that the signer has to issue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.app.settings import Settings
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.self_check.lists import KeptLists
from hedgerow.proxy.handover import (
    CHECKED,
    TRIAL_ADDRESS,
    UNSIGNED,
    HandoverHeader,
    HandoverSender,
    encode_handover_header,
    load_handover_key,
)
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.signing import TRIAL_ZONE
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
ANSWER_S: Final = 10.0
"""Seconds for an answer, which takes milliseconds unless the machine is very busy."""

STARTED_S: Final = 20.0
"""Seconds after its start from which on a process should work."""

_PAUSE_S: Final = 0.05
_FAILURES: Final = 3  # in a row, until a process is replaced


class InspectionFailure(Exception):
    """A page inside TLS would not be inspected."""


class InspectionCheck:
    """A trial of each inspector and the signer. One that fails three times in a row is replaced."""

    def __init__(self, settings: Settings, kill: Callable[[int, signal.Signals], object] = os.kill) -> None:
        self._settings, self._kill = settings, kill
        self._failures: dict[tuple[str, int], int] = {}

    async def run(self) -> None:
        """Try until cancelled. Raises InspectionFailure for a trial that failed.

        The wait comes first: after a failure this begins anew, and a process gets its time before the next trial.
        """
        while True:
            await next_tick(INTERVAL_S)
            await self.check()

    async def check(self) -> None:
        """Try each inspector that has run for a while.

        Raises InspectionFailure for the third failure in a row, and each after it.
        """
        rows = WorkersFile.load(self._settings.workers_files).workers
        failed = {each for row in rows if row.role == "inspector" for each in await self._try(row, rows)}
        problems = [f"the {row.role} does not do its work" for row in failed if self._has_failed_again(row)]
        if problems:
            raise InspectionFailure("; ".join(dict.fromkeys(problems)))

    async def _try(self, row: WorkerRow, rows: Sequence[WorkerRow]) -> Sequence[WorkerRow]:
        """Return the process that does not do its work, or nothing."""
        if not _has_run_for_a_while(row):
            return ()  # whether it runs is told by its heartbeat
        place, key = self._settings.inspector_socket(row.index), load_handover_key(self._settings.pass_key)
        answer = await asyncio.to_thread(try_inspector, place, key, time.time())
        if answer == CHECKED:
            self._failures.pop((row.role, row.index), None)
            self._failures.pop(("signer", 0), None)
            return ()
        failed = next((each for each in rows if each.role == "signer"), row) if answer == UNSIGNED else row
        return (failed,) if _has_run_for_a_while(failed) else ()

    def _has_failed_again(self, row: WorkerRow) -> bool:
        """Count a failure, and replace the process at the third in a row, and again after as many.

        Returns False before that, since the process may have just begun, or the machine be very busy.
        """
        key = row.role, row.index
        self._failures[key] = count = self._failures.get(key, 0) + 1
        if count % _FAILURES == 0 and row.pid is not None:
            log.error("The %s does not do its work, and is replaced", row.role)
            # an inspector asks for a successor, and goes on with its connections
            with contextlib.suppress(ProcessLookupError):
                self._kill(row.pid, signal.SIGUSR1 if row.role == "inspector" else signal.SIGTERM)
        return count >= _FAILURES


def _has_run_for_a_while(row: WorkerRow) -> bool:
    return row.ready and row.pid is not None and time.time() - row.since >= STARTED_S


def try_inspector(place: Path, key: bytes, now: float, seconds: float = ANSWER_S) -> bytes:
    """Hand a connection over as a gate does. Return `CHECKED`, `UNSIGNED`, or nothing if no inspector answers in time.

    `now` is in seconds since the epoch. Each minute needs another certificate. An inspector whose queue is full has the
    same time to make room.
    """
    deadline = time.monotonic() + seconds
    header = HandoverHeader(TRIAL_ADDRESS, Authority(f"m{now // 60:.0f}{TRIAL_ZONE}", 443))
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(HandoverSender([place])) as sender, contextlib.suppress(OSError):
        while not sender.hand_over(theirs.fileno(), encode_handover_header(key, header, now)):
            if time.monotonic() >= deadline:
                return b""
            time.sleep(_PAUSE_S)
        theirs.close()
        ours.settimeout(max(deadline - time.monotonic(), _PAUSE_S))
        return ours.recv(1)
    return b""


def self_check_services(core: Core) -> tuple[ControlService, ...]:
    """Return the services of a run."""
    snapshots = core.snapshots
    kept = KeptLists(core.settings.state, lambda: snapshots.view.snapshot.generation if snapshots.view else None)
    return (
        ControlService(name="trial of inspection", area=Area.RULES, run=InspectionCheck(core.settings).run),
        ControlService(name="kept lists", area=Area.LISTS, run=kept.run),
    )
