"""DNS over TLS and HTTPS of a dns worker: where the settings name a place for them, under the policy's name and certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from hedgerow.app.files import write_atomically
from hedgerow.app.settings import Endpoint
from hedgerow.app.worker import Worker
from hedgerow.dns.certificates import ServerTls
from hedgerow.dns.doh import PROTOCOLS as DOH_PROTOCOLS
from hedgerow.dns.doh import DohServer
from hedgerow.dns.encrypted import DOT_PROTOCOLS, EncryptedSide
from hedgerow.dns.listeners import Server, open_socket
from hedgerow.proxy.authority import SERVER_VALIDITY, AuthorityError, issue_server, load_authority

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


def own_addresses(proc: Path = Path("/proc/net")) -> list[str]:
    """The addresses of this machine's interfaces, link-local ones left out."""
    with contextlib.suppress(OSError):
        local = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", (proc / "fib_trie").read_text(encoding="ascii"))
        six = [bytes.fromhex(line.split()[0]) for line in _lines(proc / "if_inet6")]
        found = {*map(ipaddress.ip_address, local), *map(ipaddress.ip_address, six)}
        return [str(address) for address in found if not address.is_link_local]
    return ["127.0.0.1"]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


@contextlib.asynccontextmanager
async def serve_encrypted(worker: Worker, server: Server) -> AsyncIterator[None]:
    """Listens where the settings say, if they do; raises OSError."""
    dot, doh = worker.settings.dot, worker.settings.doh
    if dot is None and doh is None:
        yield
        return
    certificate = Certificate(worker, [endpoint for endpoint in (dot, doh) if endpoint is not None])
    try:
        chain, key = certificate.files()
        contexts = [ServerTls(chain, key, protocols) for protocols in (DOT_PROTOCOLS, DOH_PROTOCOLS)]
    except (OSError, ssl.SSLError, AuthorityError) as error:
        # The rest of the family's names must go on.
        log.error("Encrypted DNS is not served, for want of a certificate: %s", error)
        yield
        return
    side = EncryptedSide(server, worker.view.policy.network.server_name)
    web = DohServer(side)
    watching = asyncio.create_task(_keep_fresh(worker, certificate, contexts, side))
    try:
        for endpoint in dot.every_family() if dot else ():
            await side.listen_dot(open_socket(endpoint.host, endpoint.port, socket.SOCK_STREAM), contexts[0])
        for endpoint in doh.every_family() if doh else ():
            await web.listen(open_socket(endpoint.host, endpoint.port, socket.SOCK_STREAM), contexts[1])
        yield
    finally:
        watching.cancel()
        web.close()


async def _keep_fresh(worker: Worker, certificate: Certificate, contexts: Iterable[ServerTls], side: EncryptedSide) -> None:
    """Look for another name and another certificate, without end."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        side.own_name = worker.view.policy.network.server_name
        try:
            chain, key = certificate.files()
        except (OSError, AuthorityError) as error:
            log.error("There is no new certificate for encrypted DNS, the last one stays: %s", error)
            continue
        for tls in contexts:
            tls.refresh(chain, key)
