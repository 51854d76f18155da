"""The certificate authority: its files, the formats for devices, and the leaf certificates of inspected hosts."""

from __future__ import annotations

import datetime
import plistlib
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.blocklists.names import is_address
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    CertificateFormat,
    ensure_ca,
    export_certificate,
    issue_leaf_certificate,
    load_ca,
    rotate_ca,
)


def test_the_ca_is_created_once(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path / "ca")
    assert ensure_ca(tmp_path / "ca").fingerprint == first.fingerprint
    files = list((tmp_path / "ca").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
    assert first.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert 4.9 < (first.expires - first.certificate.not_valid_before_utc).days / 365 < 5.1
    assert b"PRIVATE" not in first.pem


def test_concurrent_starts_create_one_ca(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        prints = {found.fingerprint for found in pool.map(lambda _: ensure_ca(tmp_path / "ca"), range(16))}
    assert len(prints) == 1


def test_openssl_reads_pem(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path / "ca")
    (tmp_path / "cert.pem").write_bytes(authority.pem)
    command = ["openssl", "x509", "-in", str(tmp_path / "cert.pem"), "-noout", "-fingerprint", "-sha256", "-subject"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert authority.fingerprint in done.stdout
    assert authority.name in done.stdout


def test_a_changed_ca_file_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    ensure_ca(directory)
    other = ensure_ca(tmp_path / "other")
    path = directory / "hedgerow-ca.pem"
    good = path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(CertificateAuthorityError, match="can be read by others"):
        load_ca(directory)
    path.chmod(0o600)
    path.write_bytes(b"nothing")
    with pytest.raises(CertificateAuthorityError, match="is not a key and a certificate"):
        load_ca(directory)
    path.write_bytes(good.partition(b"-----BEGIN CERTIFICATE")[0] + other.pem)
    with pytest.raises(CertificateAuthorityError, match="does not belong"):
        load_ca(directory)


# Rotation.


def test_rotation_replaces_the_ca_and_deletes_the_old_key(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path)
    old, new = rotate_ca(tmp_path)
    assert old.fingerprint == first.fingerprint != new.fingerprint
    assert ensure_ca(tmp_path).fingerprint == load_ca(tmp_path).fingerprint == new.fingerprint
    assert old.name != new.name  # so that people can tell them apart on a device
    kept = {path.name: path for path in tmp_path.iterdir()}
    assert stat.S_IMODE(kept.pop("hedgerow-ca.pem").stat().st_mode) == 0o600
    assert [path.read_bytes() for path in kept.values()] == [old.pem]


def test_rotation_of_an_empty_folder_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        rotate_ca(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Forms.


@pytest.mark.parametrize("form", CertificateFormat)
def test_no_exported_file_contains_the_key(tmp_path: Path, form: CertificateFormat) -> None:
    authority = ensure_ca(tmp_path)
    data = export_certificate(authority, form).data
    scalar = authority.key.private_numbers().private_value.to_bytes(32, "big")
    assert b"PRIVATE" not in data
    assert scalar not in data


def test_apple_gets_a_profile_with_the_root_certificate(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path)
    file = export_certificate(authority, CertificateFormat.MOBILECONFIG)
    assert (file.name, file.content_type) == ("hedgerow-ca.mobileconfig", "application/x-apple-aspen-config")
    profile = plistlib.loads(file.data)
    (payload,) = profile["PayloadContent"]
    assert (profile["PayloadType"], payload["PayloadType"]) == ("Configuration", "com.apple.security.root")
    assert x509.load_der_x509_certificate(payload["PayloadContent"]) == authority.certificate
    # the same certificate is the same profile
    assert export_certificate(authority, CertificateFormat.MOBILECONFIG) == file
    assert (
        plistlib.loads(export_certificate(rotate_ca(tmp_path)[1], CertificateFormat.MOBILECONFIG).data)["PayloadUUID"]
        != profile["PayloadUUID"]
    )


def test_openssl_reads_der(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path / "ca")
    (tmp_path / "cert.crt").write_bytes(export_certificate(authority, CertificateFormat.DER).data)
    command = [
        "openssl",
        "x509",
        "-inform",
        "der",
        "-in",
        str(tmp_path / "cert.crt"),
        "-noout",
        "-fingerprint",
        "-sha256",
    ]
    assert authority.fingerprint in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return ensure_ca(tmp_path_factory.mktemp("ca"))


def leaf(authority: CertificateAuthority, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    return issue_leaf_certificate(authority, key.public_key(), name), key


@pytest.mark.parametrize(
    "name", ["www.school.example", "a" * 60 + ".very.long.example.org", "192.0.2.7", "2001:db8::7"]
)
def test_openssl_verifies_a_leaf_strictly(authority: CertificateAuthority, tmp_path: Path, name: str) -> None:
    made, _ = leaf(authority, name)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "leaf.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_ip" if is_address(name) else "-verify_hostname",
        name,
    ]
    done = subprocess.run(
        [*command, "-CAfile", "ca.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_leaf_outlives_its_authority(authority: CertificateAuthority) -> None:
    made, _ = leaf(authority, "a.example")
    assert made.not_valid_after_utc <= authority.expires
    assert made.not_valid_after_utc - made.not_valid_before_utc < datetime.timedelta(days=100)
