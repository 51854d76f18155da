"""A certificate authority for tests: its root is trusted by nobody but the test that made it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its key, as PEM files that `ssl` and other servers read."""

    certificate: Path
    key: Path


class Authority:
    """Issues leaves into `directory`. `root` is the file that clients are told to trust."""

    def __init__(self, directory: Path, name: str = "Small Internet test root") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _build(_named(name), _named(name), self._key, self._key, [], (-1, 3650), is_authority=True)
        self._leaves: dict[tuple[str, ...], Leaf] = {}
        self.root = directory / "root.pem"
        self.root.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, *names: str) -> Leaf:
        """A valid certificate for host names, wildcards or IP addresses; made once, then the same again."""
        if names not in self._leaves:
            self._leaves[names] = self._issue(names, (-1, 90))
        return self._leaves[names]

    def expired_leaf(self, *names: str) -> Leaf:
        """A certificate that ran out yesterday."""
        return self._issue(names, (-90, -1), "expired")

    def self_signed_leaf(self, *names: str) -> Leaf:
        """A certificate that no authority signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(names[0])
        return self._write("self-signed", _build(subject, subject, key, key, names, (-1, 90)), key)

    def client_leaf(self, name: str) -> Leaf:
        """A certificate that somebody shows to a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write("client", _build(_named(name), self._certificate.subject, key, self._key, [], (-1, 90)), key)

    def client_context(self) -> ssl.SSLContext:
        """For Python clients: trusts this root and nothing else."""
        return ssl.create_default_context(cafile=str(self.root))

    def _issue(self, names: Sequence[str], days: tuple[int, int], prefix: str = "leaf") -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _build(_named(names[0]), self._certificate.subject, key, self._key, names, days, is_logged=True)
        return self._write(prefix, certificate, key)

    def _write(self, prefix: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Leaf:
        stem = f"{prefix}-{certificate.serial_number:x}"
        leaf = Leaf(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        leaf.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        leaf.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return leaf


def server_context(leaf: Leaf, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """For a server that shows `leaf` and offers the protocols of `alpn`, best first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    context.set_alpn_protocols(list(alpn))
    return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    days: tuple[int, int],
    *,
    is_authority: bool = False,
    is_logged: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority_key, critical=False)
        .add_extension(_usage(is_authority), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if is_logged:  # as by all public authorities: an empty list of timestamps (RFC 6962, section 3.3)
        logged = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
        builder = builder.add_extension(x509.UnrecognizedExtension(logged, b"\x04\x02\x00\x00"), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
