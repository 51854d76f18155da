"""Origins whose certificates are not valid, each in one way (RFC 5280, RFC 9525), and some that are."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from small_internet.authority import Authority

from http_conformance.messages import HELLO
from http_conformance.outcome import Outcome
from http_conformance.proxies import HOST, Proxy
from http_conformance.wire import ByteOrigin, Reply, converse, inspected

DAY = datetime.timedelta(days=1)
type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
type Chain = tuple[x509.Certificate, Key, list[x509.Certificate]]
"""A leaf, its key, and what its origin sends with it."""


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Template:
    """A certificate to be issued."""

    subject: str = HOST
    names: Sequence[x509.GeneralName] = (x509.DNSName(HOST),)
    days: tuple[int, int] = (-1, 90)
    is_authority: bool = False
    path_length: int | None = None
    may_sign: bool = False
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()


@dataclass(frozen=True)
class Issuer:
    certificate: x509.Certificate
    key: Key


def root_of(authority: Authority) -> Issuer:
    """The root that the proxies trust."""
    return Issuer(authority._certificate, authority._key)


def issue(template: Template, issuer: Issuer | None, key: Key) -> x509.Certificate:
    """Return a certificate of `issuer`, None for one that signs itself."""
    subject, now = _name(template.subject), datetime.datetime.now(datetime.UTC)
    signer = issuer.key if issuer is not None else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + template.days[0] * DAY)
        .not_valid_after(now + template.days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=template.is_authority, path_length=template.path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(signs=template.may_sign or template.is_authority), critical=True)
    )
    if template.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(template.names), critical=False)
    if template.usage is not None and not template.is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([template.usage]), critical=False)
    for extension, is_critical in template.more:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _dns(*names: str) -> tuple[x509.GeneralName, ...]:
    return tuple(x509.DNSName(name) for name in names)


AUTHORITY = Template("Intermediate", (), is_authority=True)
LEAF = Template()


class Chains:
    """Makes the chains: each returns the leaf, its key and the certificates that the origin sends with it."""

    def __init__(self, root: Issuer, address: str) -> None:
        self._root = root
        self._address = address

    def _leaf(self, template: Template, issuer: Issuer | None = None, key: Key | None = None) -> Chain:
        key = key or new_key()
        return issue(template, issuer or self._root, key), key, []

    def _through(self, template: Template, leaf: Template = LEAF, *, sent: bool = True) -> Chain:
        """A leaf of an intermediate authority."""
        key = new_key()
        middle = Issuer(issue(template, self._root, key), key)
        certificate, leaf_key, _ = self._leaf(leaf, middle)
        return certificate, leaf_key, [middle.certificate] if sent else []

    def _deep(self) -> Chain:
        """An authority that may sign no authority signs one."""
        one, two = new_key(), new_key()
        first = Issuer(issue(replace(AUTHORITY, path_length=0), self._root, one), one)
        second = Issuer(issue(replace(AUTHORITY, subject="Second"), first, two), two)
        leaf, key, _ = self._leaf(LEAF, second)
        return leaf, key, [second.certificate, first.certificate]

    def _alone(self, template: Template) -> Chain:
        key = new_key()
        return issue(template, None, key), key, []

    def _unknown(self) -> Chain:
        key = new_key()
        other = Issuer(issue(replace(AUTHORITY, subject="Unknown root"), None, key), key)
        leaf, leaf_key, _ = self._leaf(LEAF, other)
        return leaf, leaf_key, [other.certificate]

    def _impostor(self) -> Chain:
        """An authority with the name of the right one, and another key."""
        key = new_key()
        return self._leaf(LEAF, Issuer(self._root.certificate, key))

    def _changed(self) -> Chain:
        leaf, key, _ = self._leaf(LEAF)
        octets = bytearray(leaf.public_bytes(serialization.Encoding.DER))
        octets[-1] ^= 1
        return x509.load_der_x509_certificate(bytes(octets)), key, []

    def good(self) -> dict[str, Callable[[], Chain]]:
        return {
            "valid": lambda: self._leaf(LEAF),
            "valid, of an intermediate authority": lambda: self._through(AUTHORITY),
            "valid, by a wildcard": lambda: self._leaf(replace(LEAF, names=_dns("*.school.example"))),
            "valid, with another name first": lambda: self._leaf(replace(LEAF, names=_dns("other.example", HOST))),
            "valid, RSA of 2,048 bits": lambda: self._leaf(LEAF, key=rsa.generate_private_key(65537, 2048)),
        }

    def bad(self) -> dict[str, Callable[[], Chain]]:
        constraint = x509.NameConstraints([x509.DNSName("other.example")], None)
        odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5.6"), b"\x05\x00")
        return {
            "expired": lambda: self._leaf(replace(LEAF, days=(-90, -1))),
            "not yet valid": lambda: self._leaf(replace(LEAF, days=(1, 90))),
            "for another name": lambda: self._leaf(replace(LEAF, names=_dns("other.example"))),
            "for the domain above": lambda: self._leaf(replace(LEAF, names=_dns("school.example"))),
            "a wildcard over two labels": lambda: self._leaf(replace(LEAF, names=_dns("*.example"))),
            "a wildcard for all": lambda: self._leaf(replace(LEAF, names=_dns("*"))),
            "a wildcard in the middle": lambda: self._leaf(replace(LEAF, names=_dns("www.*.example"))),
            "the name in the subject only": lambda: self._leaf(replace(LEAF, names=())),
            "the name after a NUL": lambda: self._leaf(replace(LEAF, names=_dns(f"{HOST}\0.other.example"))),
            "the name as a URI": lambda: self._leaf(
                replace(LEAF, names=(x509.UniformResourceIdentifier(f"https://{HOST}/"),))
            ),
            "an address in place of the name": lambda: self._leaf(
                replace(LEAF, names=(x509.IPAddress(ipaddress.ip_address(self._address)),))
            ),
            "signed by itself": lambda: self._alone(LEAF),
            "signed by itself, as an authority": lambda: self._alone(replace(LEAF, is_authority=True)),
            "of an unknown authority": self._unknown,
            "of an authority with the right name and another key": self._impostor,
            "of an intermediate that is missing": lambda: self._through(AUTHORITY, sent=False),
            "of an intermediate that is expired": lambda: self._through(replace(AUTHORITY, days=(-90, -1))),
            "of an intermediate that is no authority": lambda: self._through(
                replace(AUTHORITY, is_authority=False, may_sign=True)
            ),
            "of an authority too deep": self._deep,
            "of an authority for other names": lambda: self._through(replace(AUTHORITY, more=((constraint, True),))),
            "for clients only": lambda: self._leaf(replace(LEAF, usage=ExtendedKeyUsageOID.CLIENT_AUTH)),
            "with an unknown critical extension": lambda: self._leaf(replace(LEAF, more=((odd, True),))),
            "RSA of 1,024 bits": lambda: self._leaf(LEAF, key=rsa.generate_private_key(65537, 1024)),
            "with a signature that was changed": self._changed,
        }


TLS_CASES = {
    "TLS 1.0 only": (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
    "TLS 1.1 only": (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
    "a cipher without encryption": (ssl.TLSVersion.TLSv1_2, "NULL:@SECLEVEL=0"),
    "a cipher without authentication": (ssl.TLSVersion.TLSv1_2, "aNULL:@SECLEVEL=0"),
}


def context_for(certificate: x509.Certificate, key: Key, more: Sequence[x509.Certificate]) -> ssl.SSLContext:
    """A server's context; weak keys and signatures are allowed there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "chain.pem")
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(pem + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (certificate, *more)))
        context.load_cert_chain(path)
    return context


def run_certificates(proxy: Proxy, origin: ByteOrigin, root: Issuer, address: str) -> Iterator[Outcome]:
    """An origin's certificates in a tunnel that the proxy decrypts.

    The proxy must show no page of an origin that is not who it should be.
    """
    chains, key = Chains(root, address), new_key()
    good = context_for(issue(LEAF, root, key), key, [])
    for name, make in chains.good().items():
        origin.context = context_for(*make())
        reply = _ask(proxy, origin)
        yield Outcome("certificates", name, "5280 6", reply.status == 200 and reply.body == b"hello", str(reply))
    for name, make in chains.bad().items():
        try:
            origin.context = context_for(*make())
        except (ssl.SSLError, ValueError) as error:
            raise AssertionError(name) from error
        reply = _ask(proxy, origin)
        yield Outcome("certificates", name, "5280 6, 9525", reply.body != b"hello", str(reply))
    for name, (version, ciphers) in TLS_CASES.items():
        context = context_for(issue(LEAF, root, key), key, [])
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = context.maximum_version = version
        with contextlib.suppress(ssl.SSLError):
            context.set_ciphers(ciphers)
        origin.context = context
        reply = _ask(proxy, origin)
        yield Outcome("certificates", name, "8996, 7525", reply.body != b"hello", str(reply))
    origin.context = good


def _ask(proxy: Proxy, origin: ByteOrigin) -> Reply:
    origin.say(HELLO)
    try:
        with inspected(proxy.address, proxy.source, proxy.host, origin.port, proxy.authority, name=HOST) as client:
            return converse(
                client,
                f"GET /a HTTP/1.1\r\nHost: {HOST}:{origin.port}\r\nConnection: close\r\n\r\n".encode(),
                seconds=15,
            )
    except OSError:
        return Reply(0, is_closed=True)
