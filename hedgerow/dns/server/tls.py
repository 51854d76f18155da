"""TLS of the DNS servers: bounded handshakes, and certificates that are replaced while serving."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MAX_HANDSHAKES: Final = 128
MAX_HANDSHAKES_PER_ADDRESS: Final = 16
HANDSHAKE_SECONDS: Final = 5.0
_NO_PASSWORD: Final = ""  # without one OpenSSL prompts for that of an encrypted key, and all queries wait
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of 1.3 are secure
_ACCEPT_RETRY_SECONDS: Final = 0.1  # if the system has no resources for another connection


class TlsAcceptor:
    """Accepts TLS connections, with a limit on handshakes in time and number, in all and per address.

    A handshake takes memory and computing before the client is known. `on_rejected` is called for each connection that is refused.
    """

    def __init__(self, on_rejected: Callable[[], None]) -> None:
        self._on_rejected = on_rejected
        self._by_address: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._listening: dict[asyncio.Task[None], socket.socket] = {}

    def listen(self, sock: socket.socket, tls: ssl.SSLContext, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections on a listening socket, which `close` closes. `protocol_factory` makes the protocol of a secure one."""
        self._listening[asyncio.get_running_loop().create_task(self._accept(sock, tls, protocol_factory))] = sock

    async def close(self) -> None:
        """Stop listening and end pending handshakes."""
        tasks = (*self._listening, *self._handshakes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._listening.values():
            sock.close()
        self._listening.clear()

    async def _accept(self, sock: socket.socket, tls: ssl.SSLContext, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(sock)
            except OSError:
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            address = peer[0]
            if len(self._handshakes) >= MAX_HANDSHAKES or self._by_address[address] >= MAX_HANDSHAKES_PER_ADDRESS:
                self._on_rejected()
                connection.close()
                continue
            self._by_address[address] += 1
            task = loop.create_task(self._secure(connection, address, tls, protocol_factory))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _secure(
        self, connection: socket.socket, address: str, tls: ssl.SSLContext, protocol_factory: Callable[[], asyncio.Protocol]
    ) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(OSError):  # such as ssl.SSLError and ConnectionError: the client's fault
                await loop.connect_accepted_socket(protocol_factory, connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        finally:
            self._by_address[address] -= 1
            if self._by_address[address] <= 0:
                del self._by_address[address]


class ReloadableCertificate(ABC):
    """A certificate chain and key in PEM files that may be renewed while serving. Raises OSError or ssl.SSLError."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._load(chain, key)
        self._loaded = _file_identity(chain, key)

    def refresh(self, chain: Path, key: Path) -> None:
        """Use changed files for new connections. If they are unusable, keep the last certificate."""
        try:
            identity = _file_identity(chain, key)
            if identity == self._loaded:
                return
            self._loaded = identity
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # a mismatched pair would leave the context with half of it
            trial.load_cert_chain(chain, key, _NO_PASSWORD)
            self._load(chain, key)
            log.info("The certificate for encrypted DNS was renewed")
        except (OSError, ssl.SSLError) as error:
            log.error("The new certificate %s is unusable, the last one stays in use: %s", chain, error)

    @abstractmethod
    def _load(self, chain: Path, key: Path) -> None: ...


class ServerTls(ReloadableCertificate):
    """The certificate for TLS over TCP: one context."""

    def __init__(self, chain: Path, key: Path, protocols: Sequence[str]) -> None:
        self._names: weakref.WeakKeyDictionary[object, str | None] = weakref.WeakKeyDictionary()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers(_CIPHERS)
        self.context.set_alpn_protocols(list(protocols))
        self.context.sni_callback = self._on_sni
        super().__init__(chain, key)

    def server_name(self, connection: object) -> str | None:
        """Return the SNI of an SSL object."""
        return self._names.get(connection)

    def _load(self, chain: Path, key: Path) -> None:
        self.context.load_cert_chain(chain, key, _NO_PASSWORD)

    def _on_sni(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self._names[connection] = name


def _file_identity(chain: Path, key: Path) -> tuple[object, ...]:
    statuses = (chain.stat(), key.stat())
    return (chain, key, *((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses))
