"""Signing of leaf certificates: the protocol between inspectors and the signer, and the signer's side of it.

An inspector connects to a Unix socket (SOCK_SEQPACKET). Its first message is its public key (DER,
SubjectPublicKeyInfo), each further one a host. Each host is answered, in order: by `+` and the certificate (DER), or by
`-` and the reason. The CA's key never leaves the signer, which issues certificates for single servers only, and none
for our own pages.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.proxy.certificate_authority import CertificateAuthority, issue_leaf_certificate

log = logging.getLogger(__name__)

MAX_ORDER = 512
"""Octets of a message to the signer."""

MAX_ANSWER = 4096
MAX_CLIENTS = 64
RATE, BURST = 500.0, 2000.0
"""Certificates per second, over time and at once, for all inspectors. A page names some dozens of new hosts."""

TRIAL_ZONE, _FOR_TRIALS = ".trial.invalid", 50
"""The zone of names for trials of ours, and the certificates that these may have beyond the rate: a crowd of new hosts
is not a failure of the signer. The zone is nobody's (RFC 6761, section 6.4).
"""

SIGNED, REFUSED = b"+", b"-"
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z|0x)[a-z0-9_-]{1,63}")
"""A name as `blocklists.names` writes it: the last label is no number, as that would be an address."""


class RefusedOrder(Exception):
    """The signer does not sign this; the text says why."""


def is_server_name(host: str) -> bool:
    """Return True for a canonical host name or IP address. A wildcard is not one.

    >>> (is_server_name("www.school.example"), is_server_name("192.0.2.7"), is_server_name("*.example"),
    ...  is_server_name("a b"))
    (True, True, False, False)
    """
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host)) == host
    return len(host) <= 253 and _NAME.fullmatch(host) is not None


def load_public_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """Load an inspector's key. Raises RefusedOrder."""
    try:
        key = serialization.load_der_public_key(der)
    except ValueError as error:
        raise RefusedOrder(f"not a key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RefusedOrder("not a key of P-256")
    return key


@dataclass
class _Client:
    socket: socket.socket
    key: ec.EllipticCurvePublicKey | None = None


class Signer:
    """The server of inspectors on a listening socket.

    `authority` returns the CA in force; `is_reserved` recognises our own hosts.

    `serve` handles what is ready now, or within some seconds. Others may wait for more with `selector`.
    """

    def __init__(
        self,
        listener: socket.socket,
        authority: Callable[[], CertificateAuthority],
        is_reserved: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.selector = selectors.DefaultSelector()
        self._listener, self._authority, self._is_reserved, self._clock = listener, authority, is_reserved, clock
        self._clients: dict[int, _Client] = {}
        self._tokens, self._filled = BURST, clock()
        self.selector.register(listener, selectors.EVENT_READ, None)

    def serve(self, seconds: float) -> bool:
        """Wait for at most this many seconds, and answer one message of each client that has sent some.

        Returns True if something else is ready.
        """
        found = False
        for key, _ in self.selector.select(seconds):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Client):
                self._receive(key.data)
            else:
                found = True
        return found

    def close(self) -> None:
        """Close all connections, but not the listening socket."""
        for client in tuple(self._clients.values()):
            self._drop(client)
        self.selector.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        self._clients[sock.fileno()] = client = _Client(sock)
        self.selector.register(sock, selectors.EVENT_READ, client)

    def _receive(self, client: _Client) -> None:
        try:
            order = client.socket.recv(MAX_ORDER + 1)
            if not order or len(order) > MAX_ORDER:
                return self._drop(client)
            if client.key is None:
                client.key = load_public_key(order)
            else:
                client.socket.send(self._answer(client.key, order))
        except (OSError, RefusedOrder):  # also of a client that does not read its answers
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self.selector.unregister(client.socket)
        del self._clients[client.socket.fileno()]
        client.socket.close()

    def _answer(self, key: ec.EllipticCurvePublicKey, order: bytes) -> bytes:
        try:
            return SIGNED + self.sign(key, order.decode("ascii", "replace"))
        except RefusedOrder as refused:
            return REFUSED + str(refused).encode()

    def sign(self, key: ec.EllipticCurvePublicKey, host: str) -> bytes:
        """Return a certificate for the key and a host, as DER. Raises RefusedOrder."""
        if not is_server_name(host):
            raise RefusedOrder("not a host")
        if self._is_reserved(host):
            raise RefusedOrder("a host of our own")
        authority = self._authority()
        if key == authority.key.public_key():
            raise RefusedOrder("the key of the authority")
        now = self._clock()
        self._tokens, self._filled = min(BURST, self._tokens + (now - self._filled) * RATE), now
        if self._tokens < (1 - _FOR_TRIALS if host.endswith(TRIAL_ZONE) else 1):
            raise RefusedOrder("too many at a time")
        self._tokens -= 1
        return issue_leaf_certificate(authority, key, host).public_bytes(serialization.Encoding.DER)
