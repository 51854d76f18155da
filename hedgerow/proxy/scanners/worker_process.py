"""The process that scans bodies for an inspector:

`python -m hedgerow.proxy.scanners.worker_process`, with a socket as standard input.

A feature whose scanner scores whole bodies has a program of its own around `serve`.

It takes frames (`FRAME`, then the payload) and works on its jobs in turn, a portion each. Its own limits end it where a
portion takes too much CPU time or memory. It gets neither the environment nor the open files of its parent, and ends
with its parent's end of the socket.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Self

from hedgerow.codec import decode, encode
from hedgerow.confinement import Capability, Confinement, Sockets, confine
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision, Reason
from hedgerow.proxy.scanners.body import BodyScan
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.topics import ListedTopics, PageFinding
from hedgerow.proxy.scanners.words import list_versions

MAX_MEMORY = 512 * 1024 * 1024
"""Bytes of address space: Python with the phrases takes a quarter of it, and the largest page another."""

PORTION_CPU_SECONDS = 5
"""CPU seconds of one portion, of which an ordinary one takes three milliseconds."""

_STEP_SECONDS = 0.002
"""CPU seconds within which a portion takes further bytes. Those of a body that is checked whole are only collected."""

JOB_CPU_SECONDS = 20.0
"""CPU seconds of one body."""

FRAME = struct.Struct("!BII")  # kind, number of the job, octets of the payload


class FrameKind(IntEnum):
    """Frames to the process, and from `RUNNING` on from it."""

    BEGIN = 1  # a `ScanOrder`
    DATA = 2
    LAST = 3  # data after which the body ends
    DROP = 4
    RUNNING = 5  # the job is being worked on
    RESULT = 6  # a `ScanResult`, one for each DATA and LAST


@dataclass(frozen=True, slots=True)
class ScanOrder:
    """Everything that a scan needs to begin."""

    head: Head
    content: ContentRules
    phrase_lists: tuple[tuple[str, int], ...]
    topics: tuple[str, ...] = ()
    labels_only: bool = False
    generation: str = ""  # of the lists
    scoring: tuple[tuple[str, str], ...] = ()  # module and class of each scanner of features

    @classmethod
    def of(cls, head: Head, rules: ScanRules) -> Self:
        names = tuple((each.__module__, each.__qualname__) for each in rules.scoring)
        generation = str(rules.listed.generation) if rules.listed is not None else ""
        return cls(head, rules.content, rules.phrase_lists, rules.topics, rules.labels_only, generation, names)

    def scan(self) -> BodyScan:
        """Begin the scan. Raises OSError if a phrase list is gone since the policy was loaded."""
        listed = None
        if self.generation:
            with contextlib.suppress(OSError, ValueError):  # newer lists are in force, and these are deleted
                listed = ListedTopics.open(Path(self.generation))
        scoring = tuple(getattr(import_module(module), name) for module, name in self.scoring)
        return BodyScan(
            self.head,
            ScanRules(self.content, self.phrase_lists, self.topics, self.labels_only, listed, scoring),
            in_worker=True,
        )


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The state of a scan: reason and subject of a refusal, now or if the body had to be released; whether more bytes
    matter.

    `finding` is the topic that a page was recognised as by now.
    """

    refusal: tuple[Reason, str] | None
    on_release: tuple[Reason, str] | None
    is_done: bool
    finding: PageFinding | None = None


class _Job:
    def __init__(self, order: ScanOrder) -> None:
        try:
            self.scan = order.scan()
        except OSError:
            self.scan = replace(order, phrase_lists=list_versions(())).scan()
        self.is_last = False
        self.cpu = 0.0

    def run(self, data: bytes | None) -> None:
        """Scan a portion. Exhausted memory and unforeseen errors block the body."""
        begun = time.process_time()
        _limit(resource.RLIMIT_CPU, int(begun) + 1 + PORTION_CPU_SECONDS)
        try:
            if data is not None:
                self.scan.feed(data)
            else:
                self.scan.go_on()
            while self.scan.is_busy and time.process_time() - begun < _STEP_SECONDS:
                self.scan.go_on()
            if self.is_last and not self.scan.is_busy:
                self.scan.end()
        except Exception:
            self.scan.fail()
        self.cpu += time.process_time() - begun
        if self.cpu > JOB_CPU_SECONDS and self.scan.is_busy:
            self.scan.fail()

    def result(self) -> ScanResult:
        return ScanResult(
            _pair(self.scan.refusal),
            _pair(self.scan.refusal_so_far),
            self.scan.is_done,
            self.scan.page.finding if self.scan.page is not None else None,
        )


def _pair(decision: Decision | None) -> tuple[Reason, str] | None:
    return (decision.reason, decision.what) if decision is not None else None


def _limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def serve(socket: int) -> None:
    """Work on the jobs that come over `socket` until its other end closes."""
    jobs: dict[int, _Job] = {}
    queue: deque[tuple[int, bytes | None]] = deque()
    received, result = bytearray(), b""
    while True:
        if not queue:
            _write(socket, result)
            result = b""
        if not queue or select.select([socket], [], [], 0)[0]:
            piece = os.read(socket, 256 * 1024)
            if not piece:
                return
            received += piece
            _take_orders(received, jobs, queue)
        if queue:
            number, data = queue.popleft()
            if (job := jobs.get(number)) is not None:
                _write(socket, result + FRAME.pack(FrameKind.RUNNING, number, 0))
                result = _run_job(number, job, data, queue)
                if job.scan.is_done:
                    del jobs[number]


def take_frames(received: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Yield the kind, number and payload of each whole frame with which the bytes begin, and remove it."""
    while len(received) >= FRAME.size:
        kind, number, size = FRAME.unpack_from(received)
        if len(received) < FRAME.size + size:
            return
        payload = bytes(received[FRAME.size : FRAME.size + size])
        del received[: FRAME.size + size]
        yield kind, number, payload


def _take_orders(received: bytearray, jobs: dict[int, _Job], queue: deque[tuple[int, bytes | None]]) -> None:
    for kind, number, payload in take_frames(received):
        if kind == FrameKind.BEGIN:
            jobs[number] = _Job(decode(ScanOrder, payload))
        elif kind == FrameKind.DROP:
            jobs.pop(number, None)
        elif number in jobs:
            jobs[number].is_last = kind == FrameKind.LAST
            queue.append((number, payload))


def _run_job(number: int, job: _Job, data: bytes | None, queue: deque[tuple[int, bytes | None]]) -> bytes:
    """Scan a portion of a body. Return the frame with the result, nothing if the scan goes on."""
    job.run(data)
    if job.scan.is_busy:
        queue.append((number, None))
        return b""
    payload = encode(job.result())
    return FRAME.pack(FrameKind.RESULT, number, len(payload)) + payload


def _write(socket: int, data: bytes) -> None:
    while data:
        data = data[os.write(socket, data) :]


def main(memory: int = MAX_MEMORY, prepare: Callable[[], None] = lambda: None) -> None:
    """Work with at most `memory` bytes of address space, after `prepare` has loaded what the scans need."""
    _limit(resource.RLIMIT_AS, memory)
    # The inspector's confinement is in force already. This process opens no sockets and writes no files either.
    confine(Confinement(read=(Path("/"),), capabilities=frozenset(Capability), sockets=Sockets.NONE))
    prepare()
    serve(0)


if __name__ == "__main__":
    main()
