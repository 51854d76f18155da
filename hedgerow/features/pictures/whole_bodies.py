"""Pictures that are judged whole, in processes of their own: collected, queued by device, decided once per content.

A body waits for a process for `DEADLINE_SECONDS` at most. Then it counts as unchecked, like one for which there is no
room. What a process finds out later is kept all the same, so that a second request for the body is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hedgerow.client_classes import ClassBudget, ClassedClient
from hedgerow.policies.model import Decision
from hedgerow.proxy.scanners.launcher import StartProgram, start_child
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.workers import COMMAND, ScanJob, ScanPool

MAX_WHOLE = 4 * 1024 * 1024
"""Bytes of a body that are collected. Of a longer one, the beginning is checked and decides."""

SMALLEST_BODY = 1024
"""Bytes of the shortest body that is checked: a shorter one has nothing in it to recognise."""

DEADLINE_SECONDS = 15.0
"""Seconds for which a complete body waits for its decision."""

MAX_DEVICE_BYTES, MAX_BYTES = 32 * 1024 * 1024, 96 * 1024 * 1024
"""Bytes of one device's bodies, and of all devices', that are collected or wait.

Devices without a name have half of these together.
"""

IDLE_SECONDS = 600.0
"""Seconds without a body after which a process ends. To load a network takes it about half a second."""

MAX_KNOWN = 8192
"""Decisions that are kept."""

PROCESSES = min(2, len(os.sched_getaffinity(0)))

JOBS = 2
"""Bodies that a process has at a time: the next is there when the first is done, whatever the event loop does."""


class WholeBody:
    """One body, with the interface of a `ScanJob`. Feed it the next bytes while it is not busy."""

    def __init__(
        self, queue: WholeBodies, client: ClassedClient, head: Head, rules: ScanRules, unchecked: Decision
    ) -> None:
        self.refusal: Decision | None = None
        self.is_done = self.is_busy = False
        self.client, self.head, self.rules, self.unchecked = client, head, rules, unchecked
        self.body = bytearray()
        self._queue = queue
        self._hash = hashlib.blake2b(repr((head.encoding, rules.content.score_limits)).encode(), digest_size=16)
        self._timer: asyncio.TimerHandle | None = None
        self._on_ready: Callable[[], None] | None = None
        self._room = queue.room.enter(self, client)

    @property
    def key(self) -> bytes:
        """Names the content together with the rules about it."""
        return self._hash.digest()

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Collect the next bytes. The body is busy from the last on, until there is a decision."""
        self.body += data
        self._hash.update(data)
        if not self._room.grow(len(data)):
            self.fail()
        elif is_last and len(self.body) < SMALLEST_BODY:
            self.finish(None)
        elif is_last or len(self.body) >= MAX_WHOLE:
            self.is_busy = True
            self._queue.submit(self)
            if not self.is_done:
                self._timer = asyncio.get_running_loop().call_later(DEADLINE_SECONDS, self.fail)

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the body is not busy any more."""
        self._on_ready = callback

    def release(self) -> None:
        """Decide now, because the bytes so far cannot be held back for longer."""
        if not self.is_done:
            self.fail()

    def fail(self) -> None:
        """Handle a body that could not be checked."""
        self.finish(self.unchecked)

    def finish(self, refusal: Decision | None) -> None:
        """Take the decision."""
        if self.is_done:
            return
        self.refusal, self.is_done, self.is_busy, self.body = refusal, True, False, bytearray()
        self._room.leave()
        if self._timer is not None:
            self._timer.cancel()
        self._queue.count("shown" if refusal is None else "unchecked" if refusal == self.unchecked else "hidden")
        callback, self._on_ready = self._on_ready, None
        if callback is not None:
            callback()


class WholeBodies:
    """The queue of a scanner, its processes and the decisions so far.

    `count` is called with the outcome for each body: shown, hidden or unchecked.
    """

    def __init__(
        self,
        count: Callable[[str], None] = lambda _outcome: None,
        command: Sequence[str] = COMMAND,
        start_program: StartProgram = start_child,
    ) -> None:
        self.count = count
        self.room = _Room()
        self.pools = [ScanPool(command, idle=IDLE_SECONDS, start_program=start_program) for _ in range(PROCESSES)]
        self._running: dict[ScanPool, list[_Check]] = {pool: [] for pool in self.pools}
        self._waiting: OrderedDict[ClassedClient, deque[weakref.ref[WholeBody]]] = OrderedDict()
        self._known: OrderedDict[bytes, Decision | None] = OrderedDict()

    def begin(self, client: ClassedClient, head: Head, rules: ScanRules, unchecked: Decision) -> WholeBody:
        """Return a new body. `unchecked` is the decision if it cannot be checked."""
        return WholeBody(self, client, head, rules, unchecked)

    def start(self) -> None:
        """Start the processes, for which the first body would wait. If they cannot start, it tries again."""
        with contextlib.suppress(OSError):
            for pool in self.pools:
                pool.start()

    def submit(self, body: WholeBody) -> None:
        """Decide on a complete body at once if its content is known, else in a process in its device's turn."""
        if body.key in self._known:
            self._known.move_to_end(body.key)
            body.finish(self._known[body.key])
            return
        if (pool := self._recall_for(body.client)) is not None:
            self._check(pool, body)
            return
        self._waiting.setdefault(body.client, deque()).append(weakref.ref(body))
        self._run()

    def close(self) -> None:
        """End the processes. Unfinished bodies stay busy: their connections have ended."""
        self._waiting.clear()
        for pool in self.pools:
            pool.close()

    def _run(self) -> None:
        while self._waiting:
            pool = min(self.pools, key=lambda each: len(self._running[each]))
            if len(self._running[pool]) >= JOBS or (body := self._next()) is None:
                return
            self._check(pool, body)

    def _recall_for(self, client: ClassedClient) -> ScanPool | None:
        """Return a process with room for a device that has nothing in any, None if there is none.

        If all are full, a body goes back whose turn has not come, of a device with several: one flood must not wait in
        front of others.
        """
        clients = Counter(check.client for checks in self._running.values() for check in checks)
        if client in clients or client in self._waiting:
            return None
        for pool, checks in self._running.items():
            if len(checks) == JOBS and clients[checks[-1].client] > 1:
                last = checks.pop()
                last.job.drop()
                self._waiting.setdefault(last.client, deque()).appendleft(last.body)
                return pool
        return None

    def _next(self) -> WholeBody | None:
        """Return the body that has waited for longest, of the device whose turn it is.

        Bodies that nobody waits for any more are skipped.
        """
        while self._waiting:
            client, bodies = self._waiting.popitem(last=False)
            body = bodies.popleft()()
            if bodies:
                self._waiting[client] = bodies
            if body is not None and not body.is_done:
                return body
        return None

    def _check(self, pool: ScanPool, body: WholeBody) -> None:
        key, unchecked, waiting = body.key, body.unchecked, weakref.ref(body)
        job = pool.begin(body.head, body.rules, unchecked)
        check = _Check(job, waiting, body.client)
        self._running[pool].append(check)

        def finish() -> None:
            self._running[pool].remove(check)
            if job.refusal != unchecked:
                self._known[key] = job.refusal
                if len(self._known) > MAX_KNOWN:
                    self._known.popitem(last=False)
            if (checked := waiting()) is not None:
                checked.finish(job.refusal)
            self._run()

        job.when_ready(finish)
        job.feed(bytes(body.body), is_last=True)


@dataclass(eq=False, slots=True)
class _Check:
    """A body that a process has."""

    job: ScanJob
    body: weakref.ref[WholeBody]
    client: ClassedClient


class _Room:
    """The bytes that bodies take, per device and in all."""

    def __init__(self) -> None:
        self._octets: Counter[ClassedClient] = Counter()
        self._budget = ClassBudget(MAX_BYTES)

    def enter(self, body: WholeBody, client: ClassedClient) -> _Part:
        """Return the part of a body. It is free when the body is gone."""
        part = _Part(self._octets, self._budget, client)
        weakref.finalize(body, part.leave).atexit = False
        return part


class _Part:
    def __init__(self, octets: Counter[ClassedClient], budget: ClassBudget, client: ClassedClient) -> None:
        self._octets, self._budget, self._client = octets, budget, client
        self._taken = 0

    def grow(self, count: int) -> bool:
        """Take more room. Return False if there is not enough."""
        if self._octets[self._client] + count > MAX_DEVICE_BYTES or not self._budget.take(self._client.rank, count):
            return False
        self._octets[self._client] += count
        self._taken += count
        return True

    def leave(self) -> None:
        """Give the room back."""
        self._octets[self._client] -= self._taken
        self._budget.give_back(self._client.rank, self._taken)
        self._taken = 0
        if not self._octets[self._client]:
            del self._octets[self._client]
