"""Passing on what a second machine needs to serve the same network: one TLS connection, opened by a token that is used
once.

The first machine listens for some minutes, with a certificate made for this purpose. The line that a person carries to
the second one holds the address, a token of 128 bits and the certificate's fingerprint (SHA-256). The second machine
checks the fingerprint before it sends anything, proves that it knows the token without sending it, and gets the answer
encrypted with a key from the token. So neither somebody in between nor somebody who records the connection gets the key
of the certificate authority.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hedgerow.app.sealed_authority import from_text, to_text
from hedgerow.codec import decode, encode
from hedgerow.proxy.certificate_authority import key_pem

MAX_BUNDLE = 16 << 20
_PATIENCE_S = 10.0  # for one step of a connection
_TOKEN_BYTES, _NONCE_BYTES, _DIGEST_BYTES = 16, 12, 32
_DONE = b"joined\n"


class JoinError(Exception):
    """A failure to join the machines. The message is one sentence for the person who tries."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """The place, the token and the certificate's fingerprint. Its text is one word."""

    host: str
    port: int
    token: bytes
    fingerprint: bytes

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{to_text(self.token)}/{to_text(self.fingerprint)}"

    @staticmethod
    def parse(text: str) -> Invitation:
        """Read the text of an invitation. Raises `JoinError`.

        >>> Invitation.parse(str(Invitation("fd00::1", 8054, bytes(16), bytes(32)))).host
        'fd00::1'
        """
        try:
            place, token, fingerprint = text.strip().split("/")
            host, _, port = place.rpartition(":")
            found = Invitation(
                str(ipaddress.ip_address(host.strip("[]"))), int(port), from_text(token), from_text(fingerprint)
            )
        except ValueError:
            found = None
        if found is None or (len(found.token), len(found.fingerprint)) != (_TOKEN_BYTES, _DIGEST_BYTES):
            raise JoinError("This is not the whole line that `hedgerow invite` has printed")
        return found


@dataclass(frozen=True, slots=True)
class Membership:
    """All that a second machine needs.

    `authority` is the CA with its key as PEM, `store_authority` that of the store's server or empty.

    `files` are the policy files, and `version` is their number in the store. `statement_key` signs the site's
    statements, as PEM.
    """

    software: str
    site: str
    store: str
    password: str
    store_authority: str
    authority: str
    version: int
    files: dict[str, str]
    statement_key: str = ""


class Host:
    """The first machine's side.

    It listens from the start on, at a port of `address` that is free unless one is given.
    """

    def __init__(self, address: str, port: int = 0) -> None:
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        self._context, fingerprint = _temporary_identity(address)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self.invitation = Invitation(address, self._listener.getsockname()[1], self._token, fingerprint)

    def serve(self, make: Callable[[], Membership], seconds: float) -> str:
        """Wait for the second machine, and give it the result of `make`. Returns its address. Raises `JoinError`.

        The token is used up by the first machine that knows it, whatever comes of that.
        """
        deadline = time.monotonic() + seconds
        with self._listener:
            while (left := deadline - time.monotonic()) > 0:
                self._listener.settimeout(left)
                with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
                    connection.settimeout(_PATIENCE_S)
                    with self._context.wrap_socket(connection, server_side=True) as secured:
                        if not hmac.compare_digest(_read(secured, _DIGEST_BYTES), self._proof()):
                            continue
                        self._listener.close()
                        return self._give(secured, make)
        raise JoinError("No machine came")

    def _give(self, secured: ssl.SSLSocket, make: Callable[[], Membership]) -> str:
        try:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = nonce + AESGCM(_derive(self._token, b"contents")).encrypt(nonce, encode(make()), None)
            secured.sendall(struct.pack("!I", len(sealed)) + sealed)
            if _read(secured, len(_DONE)) != _DONE:
                raise JoinError("The other machine did not say that it is set up")
            return str(secured.getpeername()[0])
        except OSError as error:
            raise JoinError(f"The connection to the other machine broke: {error}") from error

    def _proof(self) -> bytes:
        return _proof(self.invitation)


@contextlib.contextmanager
def accepted(invitation: Invitation) -> Iterator[Membership]:
    """Receive the first machine's data, and confirm it if the block ends without an error. Raises `JoinError`."""
    place = f"{invitation.host} port {invitation.port}"
    with contextlib.ExitStack() as stack:
        try:
            secured = stack.enter_context(_connect(invitation))
            certificate = secured.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(hashlib.sha256(certificate).digest(), invitation.fingerprint):
                raise JoinError(f"Another program than the one that printed the line answers at {place}")
            secured.sendall(_proof(invitation))
            secured.settimeout(6 * _PATIENCE_S)  # the other machine makes a role meanwhile
            membership = _open_sealed(_read_block(secured), invitation.token)
        except ConnectionError as error:
            raise JoinError(f"The line is used up, is too old or is wrong: {place} does not go on ({error})") from error
        except OSError as error:
            raise JoinError(f"{place} can't be reached: {error}") from error
        yield membership
        try:
            secured.sendall(_DONE)
        except OSError as error:
            raise JoinError(f"The first machine does not know that all is set up: {error}") from error


def _connect(invitation: Invitation) -> ssl.SSLSocket:
    """Return a TLS connection to an unverified server. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its fingerprint is checked instead
    with socket.create_connection((invitation.host, invitation.port), timeout=_PATIENCE_S) as connection:
        return context.wrap_socket(connection)  # the TLS socket takes the descriptor over


def _open_sealed(sealed: bytes, token: bytes) -> Membership:
    try:
        return decode(
            Membership, AESGCM(_derive(token, b"contents")).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        )
    except (InvalidTag, ValueError) as error:
        raise JoinError("The answer can't be read: do both machines have the same version of Hedgerow?") from error


def _proof(invitation: Invitation) -> bytes:
    """Return a proof of the token that is of use in this connection only."""
    return hmac.digest(_derive(invitation.token, b"proof"), invitation.fingerprint, "sha256")


def _derive(token: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, b"hedgerow join: " + purpose).derive(token)


def _read(connection: socket.socket, count: int) -> bytes:
    """Read exactly this many bytes. Raises OSError, also at an early end."""
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed")
        data += part
    return data


def _read_block(connection: socket.socket) -> bytes:
    (length,) = struct.unpack("!I", _read(connection, 4))
    if not _NONCE_BYTES < length <= MAX_BUNDLE:
        raise JoinError("The answer has a wrong length")
    return _read(connection, length)


def _temporary_identity(address: str) -> tuple[ssl.SSLContext, bytes]:
    """Return a TLS context with a certificate that nobody has signed, and its fingerprint."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(2), now + timedelta(2)
    )
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = builder.add_extension(alternative, critical=True).sign(key, hashes.SHA256())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with TemporaryDirectory() as folder:
        file = Path(folder) / "identity.pem"
        file.write_bytes(key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(file)
    return context, certificate.fingerprint(hashes.SHA256())


_SSL_REQUEST = struct.pack("!II", 8, 80877103)
"""PostgreSQL's message that asks for TLS (its documentation, “SSLRequest”)."""


def fetch_store_certificate(host: str, port: int) -> str:
    """Return the certificate of a PostgreSQL server on this machine, as PEM. Raises `JoinError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE_S) as connection:
            connection.sendall(_SSL_REQUEST)
            if _read(connection, 1) != b"S":
                raise JoinError(f"PostgreSQL at {host} port {port} does not offer TLS: set ssl = on")
            with context.wrap_socket(connection) as secured:
                return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")
    except OSError as error:
        raise JoinError(f"PostgreSQL can't be reached at {host} port {port} ({error}): set listen_addresses") from error
