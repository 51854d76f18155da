"""A process that scans bodies outside the event loop, and can be killed.

The process starts with the first job, or before it if one is expected, and ends when it has had none for a while, so
that an inspector that never needs it carries no weight. One that is silent for too long while it has work is killed:
the body it was working on could not be checked, and is blocked like one that is too long. The other bodies are scanned
again in the next process.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import weakref
from collections.abc import Callable, Sequence
from itertools import count

from hedgerow.codec import decode, encode
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.remembered import recognised_by_page
from hedgerow.proxy.scanners.launcher import StartProgram, start_child
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.topics import PageFinding
from hedgerow.proxy.scanners.worker_process import FRAME, FrameKind, ScanOrder, ScanResult, take_frames

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "hedgerow.proxy.scanners.worker_process")
IDLE_SECONDS = 30.0
"""Seconds without a job after which the process ends."""

PATIENCE_SECONDS = 15.0
"""Seconds for which a process with work may be silent; it reports each portion.

Longer than its CPU limit, for a busy machine.
"""

MAX_REPLAYED = 1024 * 1024
"""Bytes of a body that are kept to scan it again after another body has ended the process."""

_SEND_BUFFER = 1024 * 1024
"""Bytes asked for, of which the system may give less: the next body shall be with the process without another turn of
the event loop.
"""

_MAX_STARTS = 3


class ScanJob:
    """One body's scan in a process of the pool. Feed it the next bytes only when it is not busy."""

    def __init__(self, pool: ScanPool, number: int, order: bytes, unchecked: Decision) -> None:
        self.refusal: Decision | None = None
        self.finding: PageFinding | None = None
        self.is_done = self.is_busy = False
        self.order = order
        self.has_begun = False
        self.starts = 0
        self.kept: bytes | None = b""
        self.is_last = False
        self.number = number
        self._pool = pool
        self._unchecked = unchecked
        self._on_release: Decision | None = None
        self._on_ready: Callable[[], None] | None = None
        self.when_gone: weakref.finalize[..., ScanJob] | None = None

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Send the next bytes, or the last. The job is busy until their result is there."""
        self.is_busy, self.is_last = True, is_last
        self.kept = self.kept + data if self.kept is not None and len(self.kept) + len(data) <= MAX_REPLAYED else None
        self._pool.send(self, data)

    def release(self) -> None:
        """Decide on the bytes so far, because the rest cannot be held back for longer."""
        self.refusal = self.refusal or self._on_release

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the job is not busy any more."""
        self._on_ready = callback

    def take(self, result: ScanResult) -> None:
        """Take the process's result."""
        self.refusal, self._on_release, self.finding = (
            _decision(result.refusal, result.finding),
            _decision(result.on_release, result.finding),
            result.finding,
        )
        self._finish(is_done=result.is_done or self.refusal is not None)

    def drop(self) -> None:
        """Take the body back, without a result."""
        self._on_ready = None
        if self.when_gone is not None:
            self.when_gone()
        self._pool.end(self)

    def fail(self) -> None:
        """Handle a body that could not be checked."""
        self.refusal = self._unchecked
        self._finish(is_done=True)

    def _finish(self, *, is_done: bool) -> None:
        self.is_done, self.is_busy = is_done, False
        if is_done:
            self.kept = None
            self._pool.end(self)
        callback, self._on_ready = self._on_ready, None
        if callback is not None:
            callback()


def _decision(pair: tuple[Reason, str] | None, finding: PageFinding | None) -> Decision | None:
    if pair is not None and pair[0] is Reason.RECOGNISED:
        return recognised_by_page(pair[1], is_labelled=finding is not None and finding.is_labelled)
    return Decision(Verdict.BLOCK, *pair) if pair is not None else None


class ScanPool:
    """The process that scans: its start, its jobs, its watch and its end.

    `command` is run with the socket as its standard input. Without `start_program`, it is a child of this process.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        idle: float = IDLE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        start_program: StartProgram = start_child,
    ) -> None:
        self._command = command
        self._start_program = start_program
        self._idle = idle
        self._patience = patience
        self._jobs: weakref.WeakValueDictionary[int, ScanJob] = weakref.WeakValueDictionary()
        self._numbers = count(1)
        self._worker: _Worker | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process, if one runs and is a child."""
        process = self._worker.process if self._worker is not None else None
        return process.pid if process is not None else None

    def start(self) -> _Worker:
        """Return the process, which starts if there is none. Without a job it ends like one that has become idle."""
        if self._worker is None:
            self._worker = _Worker(self, self._command, self._start_program)
            self._set_timer()
        return self._worker

    def begin(self, head: Head, rules: ScanRules, unchecked: Decision) -> ScanJob:
        """Return a new job. `unchecked` is the decision if it cannot be finished."""
        order = encode(ScanOrder.of(head, rules))
        number = next(self._numbers)
        self._jobs[number] = job = ScanJob(self, number, order, unchecked)
        job.when_gone = weakref.finalize(job, self._drop, number)
        job.when_gone.atexit = False
        return job

    def send(self, job: ScanJob, data: bytes) -> None:
        """Send a job's next bytes to the process, with its order if they are the first.

        The process starts if there is none.
        """
        begin = b"" if job.has_begun else FRAME.pack(FrameKind.BEGIN, job.number, len(job.order)) + job.order
        job.has_begun = True
        kind = FrameKind.LAST if job.is_last else FrameKind.DATA
        self.start().write(b"".join((begin, FRAME.pack(kind, job.number, len(data)), data)))
        self._set_timer()

    def end(self, job: ScanJob) -> None:
        """Forget a job that is over. The process has forgotten it already."""
        self._jobs.pop(job.number, None)
        if job.when_gone is not None:
            job.when_gone.detach()

    def _drop(self, number: int) -> None:
        if self._worker is not None and not self._worker.is_lost:
            self._worker.write(FRAME.pack(FrameKind.DROP, number, 0))
            self._set_timer()

    def close(self) -> None:
        """End the process. Unfinished jobs stay busy: their connections have ended."""
        self._jobs.clear()
        if self._timer is not None:
            self._timer.cancel()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    def received(self, kind: int, number: int, payload: bytes) -> None:
        """Handle a frame from the process."""
        job = self._jobs.get(number)
        if kind == FrameKind.RESULT and job is not None:
            job.take(decode(ScanResult, payload))
        self._set_timer()

    def lost(self, worker: _Worker) -> None:
        """Handle the end of the process: the body it was working on cannot be checked, and the others are scanned
        again.
        """
        if worker is not self._worker:
            return
        self._worker = None
        status = worker.process.returncode if worker.process is not None else "under another user id"
        log.warning("the process that scans bodies has ended (%s)", status)
        for number, job in sorted(self._jobs.items()):
            job.starts += 1
            if number == worker.running or job.kept is None or job.starts >= _MAX_STARTS:
                job.fail()
                continue
            job.has_begun = False
            if job.kept or job.is_busy:
                self.send(job, job.kept)

    def _set_timer(self) -> None:
        """Postpone the end of the process."""
        if self._timer is not None:
            self._timer.cancel()
        has_work = any(job.is_busy for job in self._jobs.values())
        seconds = self._patience if has_work else self._idle
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        worker = self._worker
        if worker is None:
            return
        if any(job.is_busy for job in self._jobs.values()):
            log.error("the process that scans bodies has been silent for %.0f seconds: killed", self._patience)
            worker.kill()
        elif not self._jobs:
            self._worker = None
            worker.kill()
        else:
            self._set_timer()


class _Worker(asyncio.Protocol):
    """One process and the socket to it. What is written before the connection is open is sent then."""

    def __init__(self, pool: ScanPool, command: Sequence[str], start_program: StartProgram) -> None:
        self.running: int | None = None
        self.is_lost = False
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._received = bytearray()
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        with theirs:
            try:
                self.process = start_program(command, theirs.fileno())
            except OSError:
                ours.close()
                raise
        self._connecting = asyncio.get_running_loop().create_task(self._connect(ours))

    async def _connect(self, ours: socket.socket) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.write(b"".join(self._unsent))

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._unsent.append(data)
        elif not self.is_lost:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        for kind, number, payload in take_frames(self._received):
            self.running = number if kind == FrameKind.RUNNING else None
            self._pool.received(kind, number, payload)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.is_lost = True
        self.kill()
        self._pool.lost(self)

    def kill(self) -> None:
        """Kill the process, and close the socket, which ends one that is not a child."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._transport is not None:
            self._transport.abort()
