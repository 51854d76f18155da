"""The network's own certificate authority, created at the first start, and the certificates that it issues.

Only devices on which it was installed trust it. Its key makes inspection possible, so only the owner may read it (mode
0600). It leaves the machine only for another one of the same home (`hedgerow invite`). Keys are P-256, because a
certificate is signed for every inspected host.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hedgerow.files import write_atomically

_MAX_COMMON_NAME = 64  # RFC 5280, appendix A
CA_VALIDITY = datetime.timedelta(days=5 * 365)
SERVER_VALIDITY = datetime.timedelta(days=90)
_BACKDATED = datetime.timedelta(days=2)  # for clients whose clocks are slow
CA_FILE = "hedgerow-ca.pem"
# programs with GnuTLS fail on an empty name
_SERVER_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hedgerow server")])


class CertificateAuthorityError(Exception):
    """A stored authority that cannot be used: its file was changed by hand, or others can read it."""


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """The CA's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate without its key."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as pairs of hexadecimal digits with colons."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def expires(self) -> datetime.datetime:
        return self.certificate.not_valid_after_utc

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def ensure_ca(directory: Path) -> CertificateAuthority:
    """Load the authority in `directory`, or create it there. Raises CertificateAuthorityError or OSError.

    Several processes may start at once: the first one creates it, and the others load that.
    """
    path = directory / CA_FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, _create_ca())
    return load_ca(directory)


def rotate_ca(
    directory: Path, share: Callable[[CertificateAuthority, CertificateAuthority], None] = lambda _old, _new: None
) -> tuple[CertificateAuthority, CertificateAuthority]:
    """Replace the authority in `directory` by a new one; returns the old and the new.

    Raises CertificateAuthorityError or OSError.

    `share` gets both before anything is replaced, and may raise.
    """
    old, new = load_ca(directory), _create_ca()
    share(old, new)
    replace_ca(directory, new)
    return old, new


def replace_ca(directory: Path, new: CertificateAuthority) -> None:
    """Put another authority into `directory`. Raises CertificateAuthorityError or OSError.

    The old key is deleted. Its certificate is kept, so that people can tell which one to remove from devices.
    """
    old = load_ca(directory)
    retired = (
        directory / f"retired-{old.certificate.not_valid_before_utc:%Y%m%d}-{old.fingerprint[:8].replace(':', '')}.pem"
    )
    retired.write_bytes(old.pem)
    write_atomically(directory / CA_FILE, key_pem(new.key) + new.pem, shared=True)


def load_ca(directory: Path) -> CertificateAuthority:
    """Load the authority in `directory`.

    Raises CertificateAuthorityError if the file is not a CA or others can read it; OSError. The group of its folder is
    the signer's, if that may enter the folder.
    """
    path = directory / CA_FILE
    if path.stat().st_mode & (0o037 if directory.stat().st_mode & 0o010 else 0o077):
        raise CertificateAuthorityError(
            f"{path} can be read by others: run chmod 600 on it, or remove it to create a new authority"
        )
    try:
        return parse_ca(path.read_bytes())
    except CertificateAuthorityError as error:
        raise CertificateAuthorityError(f"{path} {error}") from error


def parse_ca(data: bytes) -> CertificateAuthority:
    """Read an authority with its key from PEM. Raises CertificateAuthorityError."""
    try:
        key = serialization.load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except (ValueError, TypeError) as error:
        raise CertificateAuthorityError(f"is not a key and a certificate: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateAuthorityError("has a key that does not belong to its certificate")
    return CertificateAuthority(certificate, key)


def issue_server_certificate(authority: CertificateAuthority, names: Iterable[str], addresses: Iterable[str]) -> bytes:
    """A certificate for one of our servers, as PEM: its fresh key, itself and the CA's.

    At least one name or address is needed.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = _sign_server(authority, _SERVER_SUBJECT, key.public_key(), alternatives)
    return key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM) + authority.pem


def issue_leaf_certificate(
    authority: CertificateAuthority, key: ec.EllipticCurvePublicKey, host: str
) -> x509.Certificate:
    """A certificate for `host`, a name or an address, which is the subject too if it is short enough."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, host)] if len(host) < _MAX_COMMON_NAME else []
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    return _sign_server(authority, x509.Name(subject), key, [name])


def _sign_server(
    authority: CertificateAuthority,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    alternatives: list[x509.GeneralName],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    issuer_key = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, subject, key, x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + SERVER_VALIDITY, authority.expires))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=not list(subject))
    )
    return builder.sign(authority.key, hashes.SHA256())


def sign_message(content: bytes, pem: bytes) -> bytes:
    """Sign content with a key and a chain of certificates as PEM: a message of CMS (RFC 5652), as DER.

    Raises ValueError or TypeError.
    """
    from cryptography.hazmat.primitives.serialization import pkcs7

    key, (certificate, *others) = serialization.load_pem_private_key(pem, None), x509.load_pem_x509_certificates(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("only RSA and EC keys can sign")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(certificate, key, hashes.SHA256())
    for other in others:
        builder = builder.add_certificate(other)
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PEM, without encryption."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(path: Path, authority: CertificateAuthority) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    write_atomically(temporary, key_pem(authority.key) + authority.pem, shared=True)
    try:
        with contextlib.suppress(FileExistsError):  # another process was first
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()


def _create_ca() -> CertificateAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    # A part of the key's hash is in the name, so that a device with an earlier CA shows two different names.
    mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:6].upper()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hedgerow"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Hedgerow network CA {mark}"),
        ]
    )
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return CertificateAuthority(builder.sign(key, hashes.SHA256()), key)


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


_APPLE_FAMILY = "hedgerow.ca"
_UUID_NAMESPACE = "6f1d1c0e-5a0b-4e0f-9b57-0c1d6a1e7b21"


class CertificateFormat(StrEnum):
    """Formats of the certificate:

    `PEM` for Linux, Firefox and Chromium; `DER` for Android and Windows; `MOBILECONFIG` for Apple.
    """

    PEM = "pem"
    DER = "der"
    MOBILECONFIG = "mobileconfig"


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file to install on a device. Systems choose by `content_type` what they do with it."""

    name: str
    content_type: str
    data: bytes


def export_certificate(authority: CertificateAuthority, form: CertificateFormat) -> CertificateFile:
    """The certificate of `authority` as a file."""
    match form:
        case CertificateFormat.PEM:
            return CertificateFile("hedgerow-ca.pem", "application/x-pem-file", authority.pem)
        case CertificateFormat.DER:
            return CertificateFile("hedgerow-ca.crt", "application/x-x509-ca-cert", authority.der)
        case CertificateFormat.MOBILECONFIG:
            return _apple_profile(authority)


def format_for_name(name: str) -> CertificateFormat:
    """The format of a file with this name.

    >>> format_for_name("a.mobileconfig").value, format_for_name("a.cer").value, format_for_name("a.pem").value
    ('mobileconfig', 'der', 'pem')
    """
    forms = {"mobileconfig": CertificateFormat.MOBILECONFIG, "der": CertificateFormat.DER, "cer": CertificateFormat.DER}
    return forms.get(name.rpartition(".")[2].lower(), CertificateFormat.PEM)


def _apple_profile(authority: CertificateAuthority) -> CertificateFile:
    """Apple's "Configuration Profile Reference": a profile with one payload, a root certificate.

    The identifiers depend on the certificate only: a second installation replaces the first, and a rotated CA is
    installed next to the old.
    """
    import uuid

    # and with it an XML parser, which the workers have no use for
    from hedgerow.proxy.apple_profile import CONTENT_TYPE, make_profile, make_root_payload

    identity = uuid.uuid5(uuid.UUID(_UUID_NAMESPACE), authority.fingerprint)
    why = "Lets this network’s filter look into web pages on this device. Remove it when the device leaves for good."
    root = make_root_payload(_APPLE_FAMILY, identity, authority.name, authority.der)
    return CertificateFile(
        name="hedgerow-ca.mobileconfig",
        content_type=CONTENT_TYPE,
        data=make_profile(_APPLE_FAMILY, identity, authority.name, why, [root]),
    )
