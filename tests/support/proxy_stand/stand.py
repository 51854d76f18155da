"""Starts the processes, sends them orders, and ends them."""

from __future__ import annotations

import contextlib
import multiprocessing
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from server_logs import watched
from small_internet.whole import SmallInternet

from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Grant, Pause
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.remembered import PageRecognised
from hedgerow.proxy.certificate_authority import ensure_ca
from hedgerow.proxy.gate.table import GateLimits
from hedgerow.proxy.handover import KEY_BYTES
from proxy_stand.workers import Report, World, run_gate, run_inspector

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    ["proxy_stand.workers", "hedgerow.proxy.inspection.inspector", "hedgerow.proxy.scanners.response_scanner"]
)
"""Workers are forked from a process that has imported their modules once: that takes longer than all else
of a start.
"""
PATIENCE = 60.0
"""Seconds that a busy machine may take to start a worker or to come to a condition."""


class Worker:
    """One process and our end of its pipe."""

    def __init__(self, run: Callable[[Pipe, World], None], world: World) -> None:
        self._pipe, theirs = _FORKED.Pipe()
        self._process = _FORKED.Process(target=run, args=(theirs, world))
        self._process.start()
        theirs.close()
        self.port: int = self._answer()

    def order(self, order: Any) -> Any:
        self._pipe.send(order)
        return self._answer()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def end(self) -> None:
        """End the process. A second call does nothing."""
        if self._pipe.closed:
            return
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(PATIENCE)
        stuck = self._process.is_alive()
        if stuck:
            self._process.kill()
            self._process.join()
        self._pipe.close()
        status = self._process.exitcode
        self._process.close()
        assert not stuck, "a worker did not end"
        assert status == 0, f"a worker ended with {status}"

    def _answer(self) -> Any:
        assert self._pipe.poll(PATIENCE), "a worker does not answer"
        return self._pipe.recv()


class Stand:
    """`proxy` is where clients go; `ca` is the certificate that a device with a trusted CA has installed."""

    def __init__(self, world: World, inspector: Worker, gate: Worker) -> None:
        self.world = world
        self.inspector = inspector
        self.gate = gate
        self.proxy = ("127.0.0.1", gate.port)
        self.ca = world.state / "ca.pem"
        self.ca.write_bytes(ensure_ca(world.state / "ca").pem)

    def reported(self) -> list[Report]:
        """Return the observations and requests for access since the last call."""
        return [*self.gate.order("reported"), *self.inspector.order("reported")]

    def wait_for(self, condition: Callable[[list[Report]], Any], seconds: float = PATIENCE) -> list[Report]:
        """Wait until `condition` holds for everything reported since the last call. Return it."""
        found, deadline = self.reported(), time.monotonic() + seconds
        while not condition(found):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
            found += self.reported()
        return found

    def counters(self) -> dict[tuple[str, ...], float]:
        """Return the sums of both workers' counters."""
        counters = self.gate.order("counters")
        for key, value in self.inspector.order("counters").items():
            counters[key] = counters.get(key, 0) + value
        return counters

    def protections(self) -> set[tuple[str, Protection]]:
        """Return the protections that devices showed to use since the last call."""
        gate: set[tuple[str, Protection]] = self.gate.order("protections")
        return gate | self.inspector.order("protections")

    def recognised(self) -> list[PageRecognised]:
        """Return the pages that the inspector reported as recognised since the last call."""
        pages: list[PageRecognised] = self.inspector.order("pages")
        return pages

    def swap(
        self,
        policy: str | None = None,
        pauses: tuple[Pause, ...] | None = None,
        grants: tuple[Grant, ...] | None = None,
    ) -> None:
        """Put another policy, other pauses or other grants in force, as a new snapshot does."""
        if policy is not None:
            self.world = replace(self.world, policy=_load(self.world.state, policy))
        if pauses is not None:
            self.world = replace(self.world, pauses=pauses)
        if grants is not None:
            self.world = replace(self.world, grants=grants)
        for worker in (self.gate, self.inspector):
            assert worker.order(self.world) == "swapped"


def _load(state: Path, text: str) -> Any:
    path = state / "hedgerow.yaml"
    path.write_text(text)
    return load_policy(path)


@contextlib.contextmanager
def proxy_stand(
    net: SmallInternet,
    policy: str,
    lists: Mapping[str, str] | None = None,
    limits: GateLimits | None = None,
    *,
    tells: bool = True,
    examines: bool = False,
    judging_seconds: float = 60.0,
    holds: tuple[float, float, float] | None = None,
) -> Iterator[Stand]:
    """Run a stand. `lists` are the texts of lists by category."""
    with tempfile.TemporaryDirectory(prefix="proxy-stand-") as name:
        state = Path(name)
        sources = []
        for category, text in (lists or {}).items():
            path = state / f"{category}.txt"
            path.write_text(text)
            sources.append(Source(f"our-{category}", category, path))
        compile_generation(sources, state / "generation")
        (state / "pass.key").write_bytes(secrets.token_bytes(KEY_BYTES))
        ensure_ca(state / "ca")
        world = World(
            policy=_load(state, policy),
            generation=state / "generation",
            state=state,
            upstream=net.nameserver.upstream,
            upstream_ca=net.authority.root,
            limits=limits or GateLimits(),
            tells=tells,
            examines=examines,
            judging_seconds=judging_seconds,
            holds=holds,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(watched(world.log))
            inspector = Worker(run_inspector, world)
            stack.callback(inspector.end)
            gate = Worker(run_gate, world)
            stack.callback(gate.end)
            yield Stand(world, inspector, gate)
