"""Certificates of encrypted DNS that are renewed while it serves."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from hedgerow.dns.listening.certificates import ServerTls
from hedgerow.proxy.authority import Authority, ensure_authority, issue_server

NAME = "dns.home.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return ensure_authority(tmp_path / "ca")


def shown(tls: ServerTls, authority: Authority, name: str) -> bytes:
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


def test_a_renewed_file_is_shown_and_a_broken_one_is_not(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(issue_server(authority, [NAME, f"*.{NAME}"], ["127.0.0.1"]))
    tls = ServerTls(path, path, ("dot",))
    first = shown(tls, authority, f"mia-phone.{NAME}")
    assert shown(tls, authority, "127.0.0.1") == first
    tls.refresh(path, path)
    assert shown(tls, authority, NAME) == first
    path.write_bytes(issue_server(authority, [NAME], []))
    tls.refresh(path, path)
    second = shown(tls, authority, NAME)
    assert second != first
    other = tmp_path / "other.pem"
    other.write_bytes(issue_server(authority, [NAME], []))
    for chain, key in ((other, path), (tmp_path / "absent", path)):
        tls.refresh(chain, key)
        assert shown(tls, authority, NAME) == second
    path.write_text("no certificate")
    tls.refresh(path, path)
    assert shown(tls, authority, NAME) == second


def test_a_name_that_is_not_ours_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(issue_server(authority, [NAME], []))
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(ServerTls(path, path, ("dot",)), authority, "elsewhere.example")
