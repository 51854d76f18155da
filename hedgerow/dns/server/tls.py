"""TLS of the DNS servers: bounded handshakes, and certificates that are replaced while serving."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hedgerow.client_classes import ClassedClient, Places
from hedgerow.proxy_protocol import HEADER_SECONDS, PREFIX_OCTETS, ProxyProtocolError, header_octets, parse_header
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger(__name__)

type ProtocolFactory = Callable[[str], asyncio.Protocol]
"""Makes the protocol of a connection for the client's address."""

MAX_HANDSHAKES: Final = 128
MAX_HANDSHAKES_PER_CLIENT: Final = 16
HANDSHAKE_SECONDS: Final = 5.0
_NO_PASSWORD: Final = ""  # without one OpenSSL prompts for that of an encrypted key, and all queries wait
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of 1.3 are secure
_ACCEPT_RETRY_SECONDS: Final = 0.1  # if the system has no resources for another connection


class TlsAcceptor:
    """The acceptor of TLS connections. It limits handshakes in time and number, in all and per client.

    A handshake takes memory and computing before the client is known. When there are too many, the oldest one of the
    client with the most ends, as `Places` chooses it: a phone's takes milliseconds, and what has lasted for seconds
    will not succeed.

    `admits` returns whether the client at an address may begin one more, `class_of` returns the client as limits see
    it, `sends_proxy_header` whether connections from an address begin with the client's, and `on_rejected` is called
    for each connection that is refused or displaced.
    """

    def __init__(
        self,
        admits: Callable[[str], bool],
        class_of: Callable[[str], ClassedClient],
        sends_proxy_header: Callable[[str], bool],
        on_rejected: Callable[[], None],
    ) -> None:
        self._admits, self._class_of = admits, class_of
        self._sends_proxy_header, self._on_rejected = sends_proxy_header, on_rejected
        self._handshakes = Places[asyncio.Task[None]](MAX_HANDSHAKES, MAX_HANDSHAKES_PER_CLIENT)
        self._headers: set[asyncio.Task[None]] = set()  # of load balancers, which are not told apart until then
        self._listening: dict[asyncio.Task[None], socket.socket] = {}

    def listen(self, sock: socket.socket, tls: ssl.SSLContext, make: ProtocolFactory) -> None:
        """Accept connections on a listening socket, which `close` closes. `make` makes the protocol of a secure one."""
        self._listening[asyncio.get_running_loop().create_task(self._accept(sock, tls, make))] = sock

    async def close(self) -> None:
        """Stop listening and end pending handshakes."""
        tasks = (*self._listening, *self._handshakes.items(), *self._headers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._listening.values():
            sock.close()
        self._listening.clear()

    async def _accept(self, sock: socket.socket, tls: ssl.SSLContext, make: ProtocolFactory) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(sock)
            except OSError:
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            try:
                self._begin(connection, peer[0], tls, make)
            except Exception:
                note_unexpected("A connection of encrypted DNS failed")
                connection.close()

    def _begin(self, connection: socket.socket, address: str, tls: ssl.SSLContext, make: ProtocolFactory) -> None:
        if self._sends_proxy_header(address):
            self._begin_behind_proxy(connection, address, tls, make)
        elif self._may_begin(address):
            task = asyncio.get_running_loop().create_task(self._secure(connection, address, tls, make))
            self._enter(task, address)
        else:
            self._reject(connection)

    def _begin_behind_proxy(
        self, connection: socket.socket, peer: str, tls: ssl.SSLContext, make: ProtocolFactory
    ) -> None:
        if len(self._headers) >= MAX_HANDSHAKES:
            self._reject(connection)
            return
        task = asyncio.get_running_loop().create_task(self._secure_behind_proxy(connection, peer, tls, make))
        self._headers.add(task)
        task.add_done_callback(self._headers.discard)

    def _reject(self, connection: socket.socket) -> None:
        self._on_rejected()
        connection.close()

    def _may_begin(self, address: str) -> bool:
        """Return whether a client may begin a handshake, for which another one may be ended. `_enter` counts it."""
        client = self._class_of(address)
        if self._handshakes.count(client) >= MAX_HANDSHAKES_PER_CLIENT or not self._admits(address):
            return False
        if self._handshakes.has_room(client):
            return True
        contenders = self._handshakes.contenders(client)
        if contenders:
            self._on_rejected()
            self._handshakes.leave(contenders[0])
            contenders[0].cancel()
        return bool(contenders)

    def _enter(self, task: asyncio.Task[None], address: str) -> None:
        self._handshakes.enter(task, self._class_of(address))
        task.add_done_callback(self._handshakes.leave)

    async def _secure_behind_proxy(
        self, connection: socket.socket, peer: str, tls: ssl.SSLContext, make: ProtocolFactory
    ) -> None:
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                client = await _read_proxy_header(connection) or peer
            is_admitted = self._may_begin(client)
        except (ProxyProtocolError, OSError):  # such as TimeoutError
            is_admitted = False
        except BaseException:
            connection.close()
            raise
        if not is_admitted:
            self._reject(connection)
            return
        task = asyncio.current_task()
        assert task is not None
        self._headers.discard(task)
        self._enter(task, client)
        await self._secure(connection, client, tls, make)

    async def _secure(
        self, connection: socket.socket, address: str, tls: ssl.SSLContext, make: ProtocolFactory
    ) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # such as ssl.SSLError and ConnectionError: the client's fault
            await loop.connect_accepted_socket(
                lambda: make(address), connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )


async def _read_proxy_header(connection: socket.socket) -> str | None:
    """Read the header of the PROXY protocol, and no octet more. Raises ProxyProtocolError or OSError."""
    loop, data, size = asyncio.get_running_loop(), b"", PREFIX_OCTETS
    while len(data) < size:
        more = await loop.sock_recv(connection, size - len(data))
        if not more:
            raise ProxyProtocolError("the header is cut short")
        data += more
        if len(data) == PREFIX_OCTETS:
            size = header_octets(data)
    return parse_header(data).client


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
