"""Leaves: names, keys, lifetimes, and that what OpenSSL calls strict is content with them."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.blocklists.names import is_address
from hedgerow.proxy.certificate_authority import CertificateAuthority, LeafCertificates, ensure_ca, issue_leaf_certificate
from hedgerow.proxy.inspection.streams import TlsSession


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return ensure_ca(tmp_path_factory.mktemp("ca"))


def leaf(authority: CertificateAuthority, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    return issue_leaf_certificate(authority, key.public_key(), name), key


@pytest.mark.parametrize("name", ["www.school.example", "a" * 60 + ".very.long.example.org", "192.0.2.7", "2001:db8::7"])
def test_openssl_is_strictly_content(authority: CertificateAuthority, tmp_path: Path, name: str) -> None:
    made, _ = leaf(authority, name)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "leaf.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip" if is_address(name) else "-verify_hostname", name]
    done = subprocess.run([*command, "-CAfile", "ca.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def shown(store: LeafCertificates, authority: CertificateAuthority, host: str) -> x509.Certificate:
    """The certificate that a client which trusts the authority sees."""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    client, server = TlsSession(trusting, host=host), TlsSession(store.context(host), is_server=True)
    client.feed(b"")
    while not (client.is_established and server.is_established):
        server.feed(client.take())
        client.feed(server.take())
    assert client.certificate is not None
    return x509.load_der_x509_certificate(client.certificate)


def test_the_authoritys_key_only_signs(authority: CertificateAuthority) -> None:
    first, second = (shown(LeafCertificates(authority), authority, "a.example").public_key() for _ in range(2))
    assert authority.key.public_key() not in (first, second)
    assert first != second, "the key lives as long as its store"


def test_a_leaf_is_used_again_and_the_oldest_is_forgotten(authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.proxy.certificate_authority._MAX_LEAVES", 2)
    store = LeafCertificates(authority)

    def serial(host: str) -> int:
        return shown(store, authority, host).serial_number

    first, second = serial("a.example"), serial("192.0.2.7")
    assert serial("a.example") == first
    serial("c.example")  # the address goes
    assert serial("a.example") == first
    assert serial("192.0.2.7") != second


def test_no_leaf_outlives_its_authority(authority: CertificateAuthority) -> None:
    made, _ = leaf(authority, "a.example")
    assert made.not_valid_after_utc <= authority.expires
    assert made.not_valid_after_utc - made.not_valid_before_utc < datetime.timedelta(days=100)
