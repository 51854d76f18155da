"""Leaves: names, keys, lifetimes, and that what OpenSSL calls strict is content with them."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.proxy.authority import Authority, ensure_authority
from hedgerow.proxy.leaves import LeafStore, make_leaf


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_authority(tmp_path_factory.mktemp("ca"))


def leaf(authority: Authority, name: str | None, *names: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    return make_leaf(authority, key.public_key(), name, tuple(x509.DNSName(each) for each in names)), key


@pytest.mark.parametrize("name", ["www.school.example", "a" * 60 + ".very.long.example.org", None])
def test_openssl_is_strictly_content(authority: Authority, tmp_path: Path, name: str | None) -> None:
    made, _ = leaf(authority, name, "www.school.example")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "leaf.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.school.example"]
    done = subprocess.run([*command, "-CAfile", "ca.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_authoritys_key_only_signs(authority: Authority) -> None:
    store = LeafStore(authority)
    entry = store.get_cert("a.example", [x509.DNSName("a.example")])
    assert entry.privatekey.public_key() != authority.key.public_key()
    assert entry.cert.to_cryptography().public_key() == entry.privatekey.public_key()
    assert LeafStore(authority).get_cert("a.example", []).privatekey != entry.privatekey


def test_a_leaf_is_used_again_and_the_oldest_is_forgotten(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.proxy.leaves._MOST", 2)
    store = LeafStore(authority)

    def serial(name: str) -> int:
        return store.get_cert(name, [x509.DNSName(name)]).cert.serial

    first, second = serial("a.example"), serial("b.example")
    assert serial("a.example") == first
    serial("c.example")  # b goes
    assert serial("a.example") == first
    assert serial("b.example") != second


def test_no_leaf_outlives_its_authority(authority: Authority) -> None:
    made, _ = leaf(authority, "a.example", "a.example")
    assert made.not_valid_after_utc <= authority.expires
    assert made.not_valid_after_utc - made.not_valid_before_utc < datetime.timedelta(days=100)
