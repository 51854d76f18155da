"""Renewal of certificates while serving."""

from __future__ import annotations

import os
import pty
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from hedgerow.dns.server.tls import ServerTls
from hedgerow.proxy.certificate_authority import CertificateAuthority, ensure_ca, issue_server_certificate

NAME = "dns.home.example"


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return ensure_ca(tmp_path / "ca")


def shown(tls: ServerTls, authority: CertificateAuthority, name: str) -> bytes:
    """The certificate that a client sees; raises ssl.SSLError where it does not believe it."""
    ours, theirs = socket.socketpair()
    client = ssl.create_default_context(cadata=authority.pem.decode())

    def serve() -> None:
        try:
            tls.context.wrap_socket(ours, server_side=True).close()
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname=name) as secure:
            return secure.getpeercert(binary_form=True) or b""
    finally:
        theirs.close()
        thread.join()


def test_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path, authority: CertificateAuthority) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(issue_server_certificate(authority, [NAME, f"*.{NAME}"], ["127.0.0.1"]))
    tls = ServerTls(path, path, ("dot",))
    first = shown(tls, authority, f"mia-phone.{NAME}")
    assert shown(tls, authority, "127.0.0.1") == first
    tls.refresh(path, path)
    assert shown(tls, authority, NAME) == first
    path.write_bytes(issue_server_certificate(authority, [NAME], []))
    tls.refresh(path, path)
    second = shown(tls, authority, NAME)
    assert second != first
    other = tmp_path / "other.pem"
    other.write_bytes(issue_server_certificate(authority, [NAME], []))
    for chain, key in ((other, path), (tmp_path / "absent", path)):
        tls.refresh(chain, key)
        assert shown(tls, authority, NAME) == second
    path.write_text("no certificate")
    tls.refresh(path, path)
    assert shown(tls, authority, NAME) == second


def test_certificate_for_another_name_is_rejected(tmp_path: Path, authority: CertificateAuthority) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(issue_server_certificate(authority, [NAME], []))
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(ServerTls(path, path, ("dot",)), authority, "elsewhere.example")


LOAD = """
import fcntl, ssl, sys, termios
from pathlib import Path
from hedgerow.dns.server.tls import ServerTls
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
try:
    ServerTls(Path(sys.argv[1]), Path(sys.argv[2]), ())
except ssl.SSLError:
    sys.exit(7)
"""


def test_encrypted_key_fails_without_a_prompt(authority: CertificateAuthority, tmp_path: Path) -> None:
    chain, key = (tmp_path / name for name in ("chain.pem", "key.pem"))
    secret = ec.generate_private_key(ec.SECP256R1())
    sealed = BestAvailableEncryption(b"secret")
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    chain.write_bytes(authority.pem)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", LOAD, str(chain), str(key)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        try:
            assert process.wait(30) == 7
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(ours)
        os.close(theirs)
