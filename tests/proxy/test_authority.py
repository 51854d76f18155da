"""The CA: made once, kept private, in the form that devices and mitmproxy take."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from hedgerow.proxy.authority import AuthorityError, ensure_authority, load_authority


def test_is_made_once_and_kept(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path / "ca")
    assert ensure_authority(tmp_path / "ca").fingerprint == first.fingerprint
    files = list((tmp_path / "ca").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
    assert first.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert 4.9 < (first.expires - first.certificate.not_valid_before_utc).days / 365 < 5.1
    assert b"PRIVATE" not in first.pem


def test_many_starts_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        prints = {found.fingerprint for found in pool.map(lambda _: ensure_authority(tmp_path / "ca"), range(16))}
    assert len(prints) == 1


def test_openssl_reads_it(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path / "ca")
    (tmp_path / "cert.pem").write_bytes(authority.pem)
    command = ["openssl", "x509", "-in", str(tmp_path / "cert.pem"), "-noout", "-fingerprint", "-sha256", "-subject"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert authority.fingerprint in done.stdout
    assert authority.name in done.stdout


def test_what_was_tampered_with_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    ensure_authority(directory)
    other = ensure_authority(tmp_path / "other")
    path = directory / "hedgerow-ca.pem"
    good = path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(AuthorityError, match="can be read by others"):
        load_authority(directory)
    path.chmod(0o600)
    path.write_bytes(b"nothing")
    with pytest.raises(AuthorityError, match="is not a key and a certificate"):
        load_authority(directory)
    path.write_bytes(good.partition(b"-----BEGIN CERTIFICATE")[0] + other.pem)
    with pytest.raises(AuthorityError, match="does not belong"):
        load_authority(directory)
