"""DNS over TLS, HTTPS and QUIC of a dns worker: where the settings name a place for them, under the policy's name and certificate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.files import write_atomically
from hedgerow.app.own_addresses import own_addresses
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.worker import Worker
from hedgerow.dns.certificates import Renewable, ServerTls
from hedgerow.dns.doh import PROTOCOLS as DOH_PROTOCOLS
from hedgerow.dns.doh import DohServer
from hedgerow.dns.encrypted import DOT_PROTOCOLS, EncryptedSide
from hedgerow.dns.listeners import Server, open_socket
from hedgerow.proxy.authority import SERVER_VALIDITY, AuthorityError, issue_server, load_authority

if TYPE_CHECKING:
    from hedgerow.dns.doq import DoqServer

log = logging.getLogger("hedgerow.encrypted")

LOOK_AGAIN_S = 2.0
_RENEW_AFTER_S = SERVER_VALIDITY.total_seconds() / 2


class Certificate:
    """The certificate of encrypted DNS: the policy's files, or one of our own CA that is renewed long before it ends."""

    def __init__(self, worker: Worker, endpoints: Iterable[Endpoint]) -> None:
        self._worker = worker
        self._addresses = sorted({address for endpoint in endpoints for address in _addresses_of(endpoint)})
        self._issued: tuple[str | None, int, float] | None = None

    def files(self) -> tuple[Path, Path]:
        """Chain and key. Raises OSError or AuthorityError where there can be none."""
        named = self._worker.view.policy.network.certificate
        if named is not None:
            return Path(named.chain), Path(named.key)
        self.issue_if_due()
        path = self._worker.settings.dns_certificate(self._worker.index)
        return path, path

    def issue_if_due(self) -> None:
        """Another name, another CA, or half of its time is over: another certificate."""
        if self._worker.view.policy.network.certificate is not None:
            return
        name = self._worker.view.policy.network.server_name
        folder = self._worker.settings.authority
        changed = max(path.stat().st_mtime_ns for path in folder.iterdir())
        now = time.time()
        if self._issued is not None and self._issued[:2] == (name, changed) and now - self._issued[2] < _RENEW_AFTER_S:
            return
        names = [name, f"*.{name}"] if name else []
        pem = issue_server(load_authority(folder), names, self._addresses)
        write_atomically(self._worker.settings.dns_certificate(self._worker.index), pem)
        self._issued = (name, changed, now)


def _addresses_of(endpoint: Endpoint) -> list[str]:
    if endpoint.host not in ("0.0.0.0", "::"):  # noqa: S104
        return [endpoint.host]
    return own_addresses()


@contextlib.asynccontextmanager
async def serve_encrypted(worker: Worker, server: Server) -> AsyncIterator[None]:
    """Listens where the settings say, if they do; raises OSError."""
    settings = worker.settings
    places = [place for place in (settings.dot, settings.doh, settings.doq) if place is not None]
    if not places:
        yield
        return
    certificate = Certificate(worker, places)
    try:
        transports = _Transports(EncryptedSide(server, worker.view.policy.network.server_name), settings, *certificate.files())
    except (OSError, ssl.SSLError, AuthorityError) as error:
        # The rest of the family's names must go on.
        log.error("Encrypted DNS is not served, for want of a certificate: %s", error)
        yield
        return
    watching = asyncio.create_task(_keep_fresh(worker, certificate, transports))
    try:
        await transports.listen(settings)
        yield
    finally:
        watching.cancel()
        transports.close()


class _Transports:
    """All kinds of encrypted DNS, whether or not each has a place. Raises OSError or ssl.SSLError for a certificate that is none."""

    def __init__(self, side: EncryptedSide, settings: Settings, chain: Path, key: Path) -> None:
        self.side = side
        self._dot, self._doh = ServerTls(chain, key, DOT_PROTOCOLS), ServerTls(chain, key, DOH_PROTOCOLS)
        self._web = DohServer(side)
        self.shown: list[Renewable] = [self._dot, self._doh]
        self._quic: DoqServer | None = None
        if settings.doq is not None:
            from hedgerow.dns.doq import DoqServer  # only who serves it pays for aioquic's memory
            from hedgerow.dns.quic_tls import QuicTls

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


async def _keep_fresh(worker: Worker, certificate: Certificate, transports: _Transports) -> None:
    """Look for another name and another certificate, without end."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        transports.side.own_name = worker.view.policy.network.server_name
        try:
            chain, key = certificate.files()
        except (OSError, AuthorityError) as error:
            log.error("There is no new certificate for encrypted DNS, the last one stays: %s", error)
            continue
        for tls in transports.shown:
            tls.refresh(chain, key)
