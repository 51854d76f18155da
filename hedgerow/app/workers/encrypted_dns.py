"""Encrypted DNS of a dns worker, with the policy's server name and certificate."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from hedgerow.app.privileges import certificate_folders
from hedgerow.app.workers.worker import Worker
from hedgerow.dns.server.listeners import DnsServer
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.transports import EncryptedServer, open_encrypted_server
from hedgerow.features import FEATURES
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS
from hedgerow.sockets import open_socket
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.encrypted")

CERTIFICATE_CHECK_INTERVAL_S = 2.0


def certificate_files(worker: Worker) -> tuple[Path, Path]:
    """The files of chain and key: the policy's, or the one that control issues."""
    named = worker.view.policy.network.certificate
    if named is not None:
        return Path(named.chain), Path(named.key)
    return worker.settings.dns_certificate, worker.settings.dns_certificate


def _opened(name: str, frontend: EncryptedFrontend, chain: Path, key: Path) -> EncryptedServer:
    """Return the server of a transport: that of a feature, or of the core. Raises OSError and ssl.SSLError."""
    places = (feature.part(feature.listeners[name]) for feature in FEATURES if name in feature.listeners)
    server: EncryptedServer = next(places, open_encrypted_server)(ENCRYPTED_TRANSPORTS[name], frontend, chain, key)
    return server


@contextlib.asynccontextmanager
async def serve_encrypted(worker: Worker, server: DnsServer) -> AsyncIterator[None]:
    """Listen on the addresses in `settings.encrypted`. Raises OSError."""
    frontend = EncryptedFrontend(server.streams, worker.view.policy.network.server_name)
    files = certificate_files(worker)
    try:
        servers = {name: _opened(name, frontend, *files) for name in worker.settings.encrypted}
    except (OSError, ssl.SSLError) as error:
        # Plain DNS must continue.
        log.error("Encrypted DNS is not served, because there is no usable certificate: %s", error)
        yield
        return
    keep_fresh = partial(_keep_fresh, worker, frontend, servers)
    worker.tasks.start("certificates", keep_fresh, Area.CONNECTIONS, may_end=True)
    try:
        for name, place in worker.settings.encrypted.items():
            for endpoint in place.every_family():
                kind = ENCRYPTED_TRANSPORTS[name].socket_kind
                await servers[name].listen(
                    worker.sockets.take(endpoint, kind) or open_socket(endpoint.host, endpoint.port, kind)
                )
        yield
    finally:
        await worker.tasks.stop("certificates")
        for encrypted in servers.values():
            encrypted.close()


async def _keep_fresh(worker: Worker, frontend: EncryptedFrontend, servers: dict[str, EncryptedServer]) -> None:
    """Follow changes of our name and of the certificate files, forever."""
    readable = certificate_folders(worker.settings, worker.view.policy)
    while True:
        await next_tick(CERTIFICATE_CHECK_INTERVAL_S)
        if not certificate_folders(worker.settings, worker.view.policy) <= readable:
            log.info("This process ends, so that the next one can read the new certificate's directory.")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        frontend.own_name = worker.view.policy.network.server_name
        for server in servers.values():
            server.tls.refresh(*certificate_files(worker))
