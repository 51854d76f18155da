"""Gate and inspector workers put together, under the newest snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from hedgerow.app.resolvers import UpstreamChoice, UpstreamMeter
from hedgerow.app.snapshot import View
from hedgerow.app.worker import Worker
from hedgerow.dns.resolver import Addresses, Resolver
from hedgerow.policies.model import Decision, Device, DeviceId, Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.authority import load_authority
from hedgerow.proxy.block_page import BlockPage
from hedgerow.proxy.gate import Gate
from hedgerow.proxy.guard import Guard
from hedgerow.proxy.inspector import Inspector
from hedgerow.proxy.judge import Judge
from hedgerow.proxy.pass_ticket import load_key

CLOSE_GRACE_S = 5.0


class ProxySide:
    """What gate and inspector both need of a `Worker`: a judge for each snapshot, and a resolver."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._meter = UpstreamMeter()
        self._choice = UpstreamChoice(worker.settings, worker.view.policy, self._meter)
        self.upstreams = self._choice.open()
        self._resolver = Resolver(self.upstreams, worker.decide)
        self._retired: set[asyncio.Task[None]] = set()

    def judge(self, view: View) -> Judge:
        """All that a snapshot tells the proxy."""
        network, settings = view.policy.network, self._worker.settings
        own = {endpoint.host for listen in (settings.dns, settings.proxy, settings.web) for endpoint in listen.every_family()}
        guard = Guard(network.reachable, frozenset(network.ports), frozenset(own))
        page = BlockPage.load(network.country, network.timezone)
        return Judge(self._worker.client, self._worker.decide, self.resolve, self.observe, self._worker.ask, guard, page)

    async def resolve(self, ruleset: Ruleset, device: DeviceId, host: str) -> Addresses:
        """The addresses that DNS would give this device, so that both points agree."""
        return await self._resolver.addresses(ruleset, device, host)

    def observe(self, _device: Device, ruleset: Ruleset, request: Request, decision: Decision) -> None:
        self._worker.observe(ruleset, request, decision)

    def swap(self, view: View) -> Judge:
        """The judge of a new snapshot, with fresh upstreams where it names others."""
        fresh = self._choice.open_if_changed(view.policy)
        self._resolver.swap(self._worker.decide, fresh)
        if fresh is not None:
            task = asyncio.get_running_loop().create_task(self.upstreams.close(CLOSE_GRACE_S))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
            self.upstreams = fresh
        return self.judge(view)

    def counters(self, own: Mapping[tuple[str, ...], float]) -> Mapping[tuple[str, ...], float]:
        return {**own, **self._meter.counters}


@contextlib.asynccontextmanager
async def serve_gate(worker: Worker) -> AsyncIterator[None]:
    """Listens on the settings' proxy address, of both families where it is `0.0.0.0`; raises OSError."""
    settings = worker.settings
    side = ProxySide(worker)
    inspectors = [(settings.inspector.host, settings.inspector.port)]
    gate = Gate(side.judge(worker.view), inspectors, load_key(settings.pass_key))
    worker.on_swap = lambda view: gate.swap(side.swap(view))
    worker.counters = lambda: side.counters(gate.counters)
    try:
        for endpoint in settings.proxy.every_family():
            await gate.listen(endpoint.host, endpoint.port)
        yield
    finally:
        await gate.close()
        await side.upstreams.close()


@contextlib.asynccontextmanager
async def serve_inspector(worker: Worker) -> AsyncIterator[None]:
    """Runs the inspector on its loopback port; raises InspectorError."""
    settings = worker.settings
    side = ProxySide(worker)
    authority = load_authority(settings.authority)
    inspector = Inspector(side.judge(worker.view), load_key(settings.pass_key), authority, upstream_ca=settings.upstream_ca)
    worker.on_swap = lambda view: inspector.swap(side.swap(view))
    worker.counters = lambda: side.counters(inspector.counters)
    listening = asyncio.Event()
    running = asyncio.create_task(inspector.run(settings.inspector.host, settings.inspector.port, lambda _port: listening.set()))
    waiting = asyncio.create_task(_until(listening))
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield
    finally:
        inspector.stop()
        await running
        await side.upstreams.close()


async def _until(event: asyncio.Event) -> None:
    await event.wait()
