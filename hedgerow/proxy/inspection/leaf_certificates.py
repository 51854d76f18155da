"""TLS contexts of inspected hosts, with certificates that the signer issues.

The inspector has no CA. It makes one key for all its leaves, and asks the signer for a certificate per host. While the
signer starts again, hosts that are known go on, and others wait.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.proxy.certificate_authority import key_pem
from hedgerow.proxy.signing import MAX_ANSWER, SIGNED
from hedgerow.values import BoundedDict
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger(__name__)

type ContextReceiver = Callable[[ssl.SSLContext | None], None]
"""Takes the context of a host, or None if there is no certificate for it."""

_MAX_LEAVES = 1000
"""Leaf certificates of a day's browsing, at some 22 kB each."""

_MAX_WAITING = 2000
_RENEW_BEFORE = datetime.timedelta(days=7)
_ALPN_PROTOCOLS = ["h2", "http/1.1"]
_PATIENCE = 8.0
"""Seconds for which hosts wait for a signer that does not answer; clients wait little longer."""

_RETRY = 0.1


class LeafCertificates:
    """The contexts, by host. The least recently used are dropped first. Use it on one event loop."""

    def __init__(self, signer: Path) -> None:
        """`signer` is the path of the signer's socket."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._signer = SignerClient(signer, public)
        self._key_pem = key_pem(key)
        self._contexts = BoundedDict[str, tuple[ssl.SSLContext, float]](_MAX_LEAVES)  # with the time of its renewal
        self._waiting: dict[str, list[ContextReceiver]] = {}

    def known(self, host: str) -> ssl.SSLContext | None:
        """Return the context of a server with a certificate for `host`, a name or an address, if there is one."""
        context, renewal = self._contexts.get(host, (None, 0.0))
        if context is None or renewal <= time.time():
            return None
        self._contexts[host] = (context, renewal)  # the last one that was used
        return context

    def request(self, host: str, receive: ContextReceiver) -> None:
        """Call `receive` with the context for `host`: at once if it is known."""
        if (context := self.known(host)) is not None:
            receive(context)
        elif (waiting := self._waiting.get(host)) is not None:
            waiting.append(receive)
        elif len(self._waiting) >= _MAX_WAITING:
            receive(None)
        else:
            self._waiting[host] = [receive]
            self._signer.ask(host, self._take)

    def prepare(self, host: str) -> None:
        """Have the certificate for a host made before its client asks for it."""
        if host not in self._contexts and host not in self._waiting:
            self.request(host, lambda _context: None)

    def close(self) -> None:
        """Close the connection to the signer. Hosts that wait get nothing."""
        self._waiting.clear()
        self._signer.close()

    def _take(self, host: str, certificate: bytes | None) -> None:
        context = None
        if certificate is not None:
            leaf = x509.load_der_x509_certificate(certificate)
            context = self._make_context(leaf)
            self._contexts[host] = (context, (leaf.not_valid_after_utc - _RENEW_BEFORE).timestamp())
        for receive in self._waiting.pop(host, ()):
            try:
                receive(context)
            except Exception:
                note_unexpected("cannot secure a connection")

    def _make_context(self, leaf: x509.Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(_ALPN_PROTOCOLS)
        # each device knows which of the ciphers it computes fastest
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        # The standard library loads certificates from files only; this file is in memory and has no name.
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, self._key_pem + leaf.public_bytes(serialization.Encoding.PEM))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


type CertificateReceiver = Callable[[str, bytes | None], None]
"""Takes a host and its certificate as DER, or None if the signer refuses it or is gone for too long."""


class SignerClient:
    """An inspector's connection to the signer. It connects at the first question, and again after the signer's end."""

    def __init__(self, path: Path, public_key: bytes) -> None:
        self._path, self._public_key = str(path), public_key
        self._asked: deque[tuple[str, CertificateReceiver]] = deque()
        self._socket: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._since = 0.0

    def ask(self, host: str, receive: CertificateReceiver) -> None:
        """Ask for a certificate."""
        if not self._asked:
            self._since = asyncio.get_running_loop().time()
        self._asked.append((host, receive))
        if self._socket is not None:
            self._send(self._socket, host.encode())
        elif self._retry is None:
            self._connect()

    def close(self) -> None:
        """Close the connection. Nothing is answered any more."""
        self._asked.clear()
        if self._retry is not None:
            self._retry.cancel()
        self._disconnect()

    def _connect(self) -> None:
        self._retry = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # too many are open
            self._try_later()
            return
        sock.setblocking(False)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            self._try_later()
            return
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._receive, sock)
        for message in (self._public_key, *(host.encode() for host, _ in self._asked)):
            if not self._send(sock, message):
                return

    def _send(self, sock: socket.socket, message: bytes) -> bool:
        try:
            sock.send(message)
        except OSError:  # also if the signer is so late that nothing more fits
            self._connection_lost()
            return False
        return True

    def _receive(self, sock: socket.socket) -> None:
        try:
            answer = sock.recv(MAX_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if not answer or not self._asked:
            self._connection_lost()
            return
        host, receive = self._asked.popleft()
        self._since = asyncio.get_running_loop().time()
        is_signed = answer.startswith(SIGNED)
        if not is_signed:
            log.warning("the signer refuses a certificate: %s", answer[1:].decode("utf-8", "replace"))
        receive(host, answer[1:] if is_signed else None)

    def _connection_lost(self) -> None:
        self._disconnect()
        if self._asked:
            self._try_later()

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _try_later(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._since > _PATIENCE:
            asked, self._asked = self._asked, deque()
            for host, receive in asked:
                receive(host, None)
        elif self._retry is None:
            self._retry = loop.call_later(_RETRY, self._connect)
