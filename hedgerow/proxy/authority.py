"""The network's own certificate authority: made at the first start, kept in the state directory, trusted only where installed.

Its key is what makes inspection possible, so it is for the owner's eyes only (mode 0600) and never leaves the machine. P-256, because
a certificate is signed for every inspected host.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = datetime.timedelta(days=5 * 365)
SERVER_VALIDITY = datetime.timedelta(days=90)
_BACKDATED = datetime.timedelta(days=2)  # for clients whose clocks are slow
_FILE = "hedgerow-ca.pem"
_SERVER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hedgerow server")])  # an empty name is too much for GnuTLS programs


class AuthorityError(Exception):
    """The kept authority cannot be used: the files were changed by hand, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate alone, as devices install it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate as people compare it: pairs of hexadecimal digits with colons."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def expires(self) -> datetime.datetime:
        return self.certificate.not_valid_after_utc

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def ensure_authority(directory: Path) -> Authority:
    """The authority kept in `directory`; made there if there is none. Raises AuthorityError or OSError.

    Safe when several processes start at once: whoever is first wins, and the others load what it made.
    """
    path = directory / _FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, _create())
    return load_authority(directory)


def rotate_authority(directory: Path) -> tuple[Authority, Authority]:
    """Put a new authority in place of the one kept in `directory`; returns the old and the new. Raises AuthorityError or OSError.

    The old key is gone after this. Its certificate stays beside the new one, so that people can tell which to remove from devices.
    """
    old, new = load_authority(directory), _create()
    retired = directory / f"retired-{old.certificate.not_valid_before_utc:%Y%m%d}-{old.fingerprint[:8].replace(':', '')}.pem"
    retired.write_bytes(old.pem)
    with _written(directory / _FILE, new) as temporary:
        temporary.replace(directory / _FILE)
    return old, new


def load_authority(directory: Path) -> Authority:
    """The authority kept in `directory`. Raises AuthorityError when the file is no CA or its key is open to others."""
    path = directory / _FILE
    if path.stat().st_mode & 0o077:
        raise AuthorityError(f"{path} can be read by others: chmod 600 it, or remove it to make a new authority")
    data = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"{path} is not a key and a certificate: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityError(f"the key in {path} does not belong to its certificate")
    return Authority(certificate, key)


def issue_server(authority: Authority, names: Iterable[str], addresses: Iterable[str]) -> bytes:
    """A certificate for a server of our own, with its fresh key and the CA's certificate, as PEM. At least one name or address."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subjects: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    subjects += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    issuer_key = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    builder = (
        x509.CertificateBuilder(issuer_name=authority.certificate.subject, subject_name=_SERVER, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + SERVER_VALIDITY, authority.expires))
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
    )
    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return written + builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + authority.pem


def _write_once(path: Path, authority: Authority) -> None:
    with _written(path, authority) as temporary, contextlib.suppress(FileExistsError):  # another process was first
        path.hardlink_to(temporary)


@contextlib.contextmanager
def _written(path: Path, authority: Authority) -> Iterator[Path]:
    """A temporary file beside `path` that holds key and certificate; it is gone afterwards if it still has that name."""
    key = authority.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for the owner alone
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + authority.pem)
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _create() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    # Part of the key is in the name: a device that trusted an earlier CA then shows two that can be told apart.
    mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:6].upper()
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hedgerow"), x509.NameAttribute(NameOID.COMMON_NAME, f"Hedgerow network CA {mark}")]
    )
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
