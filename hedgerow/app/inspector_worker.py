"""An inspector worker put together: mitmproxy, under the newest snapshot.

It is loaded by no other process: it would double what they weigh.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hedgerow.app.proxy_side import ProxySide
from hedgerow.app.worker import Worker
from hedgerow.proxy.authority import load_authority
from hedgerow.proxy.inspector import Inspector
from hedgerow.proxy.pass_through import Refusals
from hedgerow.proxy.pass_ticket import load_key


@contextlib.asynccontextmanager
async def serve_inspector(worker: Worker) -> AsyncIterator[None]:
    """Runs the inspector on its socket; raises InspectorError."""
    settings = worker.settings
    side = ProxySide(worker)
    authority = load_authority(settings.authority)
    inspector = Inspector(
        side.judge(worker.view),
        load_key(settings.pass_key),
        authority,
        upstream_ca=settings.upstream_ca,
        refusals=Refusals(settings.pass_through),
    )
    worker.on_swap = lambda view: inspector.swap(side.swap(view))
    worker.counters = lambda: side.counters(inspector.counters)
    listening = asyncio.Event()
    running = asyncio.create_task(inspector.run(settings.inspector_socket(worker.index), listening.set))
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
