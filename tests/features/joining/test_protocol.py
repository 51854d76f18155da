"""Joining a second machine: what crosses the network, and who can get it."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
from postgres_server import running_server

from hedgerow.features.joining.protocol import (
    Host,
    Invitation,
    JoinError,
    Membership,
    accepted,
    fetch_store_certificate,
)
from hedgerow.journal.database import describe_journal
from hedgerow.journal.store import UnreachableStoreError

MEMBERSHIP = Membership(
    "0.2.0", "home", "postgresql://h@db.example/h", "a password", "", "THE-KEY-OF-THE-CA", 3, {"hedgerow.yaml": "{}"}
)
OTHER = Invitation("127.0.0.1", 1, bytes(16), bytes(32))


@pytest.fixture
def threads():
    with ThreadPoolExecutor() as pool:
        yield pool


def serve(threads: ThreadPoolExecutor, host: Host, seconds: float = 60.0) -> Future[str]:
    return threads.submit(host.serve, lambda: MEMBERSHIP, seconds)


def test_a_line_works_once(threads) -> None:
    host = Host("127.0.0.1")
    served = serve(threads, host)
    with accepted(Invitation.parse(str(host.invitation))) as found:
        assert found == MEMBERSHIP
    assert served.result() == "127.0.0.1"
    with pytest.raises(JoinError, match="used up"), accepted(host.invitation):
        pass


def test_a_wrong_token_gets_nothing_and_uses_nothing_up(threads) -> None:
    host = Host("127.0.0.1")
    served = serve(threads, host)
    with (
        pytest.raises(JoinError, match="used up, is too old or is wrong"),
        accepted(replace(host.invitation, token=bytes(16))),
    ):
        pass
    with accepted(host.invitation) as found:
        assert found == MEMBERSHIP
    served.result()


def test_a_failure_at_the_second_machine_is_known_to_the_first(threads) -> None:
    host = Host("127.0.0.1")
    served = serve(threads, host)
    with pytest.raises(OSError, match="no space"), accepted(host.invitation):
        raise OSError("no space")
    with pytest.raises(JoinError):
        served.result()


def test_another_program_in_between_gets_no_proof(threads) -> None:
    """It has a certificate of its own, since it does not know the key of the first machine's."""
    host, between = Host("127.0.0.1"), Host("127.0.0.1")
    asked = serve(threads, between, 5.0)
    there = replace(host.invitation, port=between.invitation.port)
    with pytest.raises(JoinError, match="Another program than the one that printed the line"), accepted(there):
        pass
    with pytest.raises(JoinError, match="No machine came"):
        asked.result()
    with pytest.raises(JoinError):
        host.serve(lambda: MEMBERSHIP, 0)


def test_nothing_can_be_read_without_the_token(threads) -> None:
    """Even inside the TLS connection, which somebody with the certificate's key could open."""
    host = Host("127.0.0.1")
    served = serve(threads, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    received = b""
    with (
        socket.create_connection((host.invitation.host, host.invitation.port)) as plain,
        context.wrap_socket(plain) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
        assert certificate is not None
        assert hashlib.sha256(certificate).digest() == host.invitation.fingerprint
        secured.sendall(host._proof())
        while len(received) < 200:
            received += secured.recv(4096)
        assert b"THE-KEY" not in received
        assert b"password" not in received
    with pytest.raises(JoinError):
        served.result()


def test_strangers_who_say_nothing_do_not_end_the_wait(threads) -> None:
    host = Host("127.0.0.1")
    served = serve(threads, host)
    for greeting in (b"GET / HTTP/1.0\r\n\r\n", b""):
        with socket.create_connection((host.invitation.host, host.invitation.port)) as stranger:
            stranger.sendall(greeting)
    with accepted(host.invitation) as found:
        assert found == MEMBERSHIP
    served.result()


def test_nobody_comes() -> None:
    with pytest.raises(JoinError, match="No machine came"):
        Host("127.0.0.1").serve(lambda: MEMBERSHIP, 0.05)


INCOMPLETE = [
    "",
    "192.168.1.2:80",
    str(OTHER)[:-1],
    f"host.example{OTHER}",
    str(OTHER).replace("127.0.0.1", "x"),
    "a/b/c",
]


@pytest.mark.parametrize("line", INCOMPLETE)
def test_an_incomplete_line_is_refused(line: str) -> None:
    with pytest.raises(JoinError, match="not the whole line"):
        Invitation.parse(line)


def test_the_second_machine_accepts_the_stores_certificate_only(tmp_path) -> None:
    """That of Debian's server is signed by itself, and for no authority or address."""
    with running_server() as server:
        pair = [server.folder / "data" / name for name in ("server.crt", "server.key")]
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=debian"]
        made = [*words, "-addext", "basicConstraints=critical,CA:FALSE"]
        for certificate, key in ([tmp_path / "other.crt", tmp_path / "other.key"], pair):
            subprocess.run([*made, "-out", certificate, "-keyout", key], check=True, capture_output=True)
        owner = pair[0].parent.stat()
        for file in pair:
            shutil.chown(file, owner.st_uid, owner.st_gid)
            file.chmod(0o600)
        with pytest.raises(JoinError, match="does not offer TLS"):
            fetch_store_certificate("127.0.0.1", server.port)
        server.execute("ALTER SYSTEM SET ssl = on")
        server.reload()
        (tmp_path / "store-ca.pem").write_text(fetch_store_certificate("127.0.0.1", server.port))
        database = server.database()
        for name, is_accepted in (("store-ca.pem", True), ("other.crt", False)):
            address = server.address(database, query=f"?sslmode=verify-ca&sslrootcert={tmp_path / name}")
            if is_accepted:
                assert str(describe_journal(address)["tls"]).startswith("TLS")
                continue
            with pytest.raises(UnreachableStoreError, match="certificate verify failed"):
                describe_journal(address)
