"""DNS over TLS, HTTPS and QUIC of a dns worker: where the settings name a place for them, under the policy's name and certificate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.workers.worker import Worker
from hedgerow.dns.server.doh import DOH_ALPN as DOH_PROTOCOLS
from hedgerow.dns.server.doh import DohServer
from hedgerow.dns.server.listeners import DnsServer, open_socket
from hedgerow.dns.server.stream import DOT_ALPN, EncryptedFrontend
from hedgerow.dns.server.tls import ReloadableCertificate, ServerTls

if TYPE_CHECKING:
    from hedgerow.dns.server.doq import DoqServer

log = logging.getLogger("hedgerow.encrypted")

CERTIFICATE_CHECK_INTERVAL_S = 2.0


def certificate_files(worker: Worker) -> tuple[Path, Path]:
    """Chain and key: the policy's files, or those that control keeps."""
    named = worker.view.policy.network.certificate
    if named is not None:
        return Path(named.chain), Path(named.key)
    return worker.settings.dns_certificate, worker.settings.dns_certificate


@contextlib.asynccontextmanager
async def serve_encrypted(worker: Worker, server: DnsServer) -> AsyncIterator[None]:
    """Listens where the settings say, if they do; raises OSError."""
    settings = worker.settings
    if settings.dot is None and settings.doh is None and settings.doq is None:
        yield
        return
    try:
        transports = _EncryptedListeners(
            EncryptedFrontend(server.streams, worker.view.policy.network.server_name), settings, *certificate_files(worker)
        )
    except (OSError, ssl.SSLError) as error:
        # The rest of the family's names must go on.
        log.error("Encrypted DNS is not served, for want of a certificate: %s", error)
        yield
        return
    watching = asyncio.create_task(_keep_fresh(worker, transports))
    try:
        await transports.listen(settings)
        yield
    finally:
        watching.cancel()
        transports.close()


class _EncryptedListeners:
    """All kinds of encrypted DNS, whether or not each has a place. Raises OSError or ssl.SSLError for a certificate that is none."""

    def __init__(self, side: EncryptedFrontend, settings: Settings, chain: Path, key: Path) -> None:
        self.side = side
        self._dot, self._doh = ServerTls(chain, key, DOT_ALPN), ServerTls(chain, key, DOH_PROTOCOLS)
        self._web = DohServer(side)
        self.shown: list[ReloadableCertificate] = [self._dot, self._doh]
        self._quic: DoqServer | None = None
        if settings.doq is not None:
            from hedgerow.dns.server.doq import (
                DoqServer,  # only who serves it pays for aioquic's memory
                QuicTls,
            )

            tls = QuicTls(chain, key)
            self._quic = DoqServer(side, tls)
            self.shown.append(tls)

    async def listen(self, settings: Settings) -> None:
        """Raises OSError."""
        for endpoint in _sockets(settings.dot):
            await self.side.listen_dot(open_socket(endpoint.host, endpoint.port, socket.SOCK_STREAM), self._dot)
        for endpoint in _sockets(settings.doh):
            await self._web.listen(open_socket(endpoint.host, endpoint.port, socket.SOCK_STREAM), self._doh)
        for endpoint in _sockets(settings.doq):
            assert self._quic is not None
            await self._quic.listen(open_socket(endpoint.host, endpoint.port, socket.SOCK_DGRAM))

    def close(self) -> None:
        self._web.close()
        if self._quic is not None:
            self._quic.close()


def _sockets(endpoint: Endpoint | None) -> tuple[Endpoint, ...]:
    return endpoint.every_family() if endpoint else ()


async def _keep_fresh(worker: Worker, transports: _EncryptedListeners) -> None:
    """Look for another name and another certificate, without end."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_INTERVAL_S)
        transports.side.own_name = worker.view.policy.network.server_name
        for tls in transports.shown:
            tls.refresh(*certificate_files(worker))
