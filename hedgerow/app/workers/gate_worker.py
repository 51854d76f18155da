"""A gate worker put together: the proxy's front door, under the newest snapshot."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from hedgerow.app.workers.proxy_backend import ProxyBackend
from hedgerow.app.workers.worker import Worker
from hedgerow.proxy.gate.server import Gate
from hedgerow.proxy.gate.table import GateLimits
from hedgerow.proxy.handover import load_handover_key
from hedgerow.proxy.pass_through import PassThrough
from hedgerow.proxy.policy import ProxyPolicy


@contextlib.asynccontextmanager
async def serve_gate(worker: Worker) -> AsyncIterator[None]:
    """Listens on the settings' addresses for the proxy, of both families where one is `0.0.0.0`; raises OSError."""
    settings = worker.settings
    side = ProxyBackend(worker)
    inspectors = [settings.inspector_socket(index) for index in range(settings.inspectors)]
    passes = PassThrough(settings.pass_through)

    def lenient(proxy_policy: ProxyPolicy) -> ProxyPolicy:
        return replace(proxy_policy, apply_pass_through=passes.apply)

    limits = GateLimits().shared_by(settings.workers)
    gate = Gate(lenient(side.proxy_policy(worker.view)), inspectors, load_handover_key(settings.pass_key), limits)
    worker.on_swap = lambda view: gate.swap(lenient(side.swap(view)))
    worker.counters = lambda: side.counters(gate.counters)
    try:
        for endpoint in settings.proxy.every_family():
            await gate.listen(endpoint.host, endpoint.port)
        for endpoint in settings.transparent.every_family() if settings.transparent else ():
            await gate.listen(endpoint.host, endpoint.port, transparent=True)
        for endpoint in settings.page:
            await gate.listen(endpoint.host, endpoint.port, page=True)
        yield
    finally:
        await gate.close()
        await side.upstreams.close()
