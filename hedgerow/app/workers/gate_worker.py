"""Composition of a gate worker: the listening side of the proxy, with the newest snapshot."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

from hedgerow.app.settings import Endpoint
from hedgerow.app.workers.proxy_backend import ProxyBackend
from hedgerow.app.workers.worker import Worker
from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.gate.server import Gate
from hedgerow.proxy.gate.table import GateLimits
from hedgerow.proxy.handover import load_handover_key
from hedgerow.proxy.pass_through import PassThrough
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.sockets import descriptor_limit, open_socket


@contextlib.asynccontextmanager
async def serve_gate(worker: Worker) -> AsyncIterator[None]:
    """Listen on the settings' addresses of the proxy, for both families if one is `0.0.0.0`. Raises OSError."""
    settings = worker.settings
    backend = ProxyBackend(worker)
    inspectors = [settings.inspector_socket(index) for index in range(settings.inspectors)]
    passes = PassThrough(settings.pass_through)

    def with_pass_through(proxy_policy: ProxyPolicy) -> ProxyPolicy:
        return replace(proxy_policy, apply_pass_through=passes.apply)

    examiner = CertificateExaminer(settings.upstream_ca)
    limits = GateLimits().shared_by(settings.workers).within(descriptor_limit())
    gate = Gate(
        with_pass_through(backend.proxy_policy(worker.view)),
        inspectors,
        load_handover_key(settings.pass_key),
        limits,
        examiner=examiner,
    )
    worker.on_swap = lambda view: gate.swap(with_pass_through(backend.swap(view)))
    worker.counters = lambda: backend.counters(gate.counters)

    async def listen(endpoint: Endpoint, *, transparent: bool = False, page: bool = False) -> None:
        listener = worker.sockets.take(endpoint, socket.SOCK_STREAM)
        listener = listener or open_socket(endpoint.host, endpoint.port, socket.SOCK_STREAM)
        await gate.serve(listener, transparent=transparent, page=page)

    try:
        for endpoint in settings.proxy.every_family():
            await listen(endpoint)
        for endpoint in settings.transparent.every_family() if settings.transparent else ():
            await listen(endpoint, transparent=True)
        for endpoint in settings.page:
            await listen(endpoint, page=True)
        yield
    finally:
        await gate.close()
        await backend.upstreams.pool.close()
