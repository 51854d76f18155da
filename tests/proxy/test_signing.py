"""The signer's side of leaf certificates, through its socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hedgerow.app import signer
from hedgerow.proxy import own_pages, signing
from hedgerow.proxy.certificate_authority import CertificateAuthority, ensure_ca
from hedgerow.proxy.signing import MAX_ORDER, RefusedOrder, Signer
from hedgerow.sockets import bind_unix_socket

KEY = ec.generate_private_key(ec.SECP256R1())


def public_der(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@contextlib.contextmanager
def serving(folder: Path, authority: CertificateAuthority) -> Iterator[Path]:
    """A signer in a thread, for which `pages.home` is a host of our own."""
    over = threading.Event()
    path = folder / "s"
    with bind_unix_socket(path, socket.SOCK_SEQPACKET, signing.MAX_CLIENTS) as listener:
        served = Signer(listener, lambda: authority, lambda host: host == "pages.home")

        def serve() -> None:
            while not over.is_set():
                served.serve(0.05)
            served.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return ensure_ca(tmp_path_factory.mktemp("ca"))


def asked(path: Path, *messages: bytes) -> list[bytes]:
    """Send messages and return the answers to all but the first; fewer if the signer hangs up."""
    answers = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for message in messages:
                sock.send(message)
            for _ in messages[1:]:
                if not (answer := sock.recv(signing.MAX_ANSWER)):
                    break
                answers.append(answer)
    return answers


def test_a_certificate_is_for_one_server_and_signed_by_the_authority(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    with serving(tmp_path, authority) as path:
        answers = asked(path, public_der(KEY), b"www.school.example", b"2001:db8::7")
    assert [answer[:1] for answer in answers] == [b"+", b"+"]
    leaf = x509.load_der_x509_certificate(answers[0][1:])
    leaf.verify_directly_issued_by(authority.certificate)
    assert leaf.public_key() == KEY.public_key()
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.school.example"]


@pytest.mark.parametrize(
    "host",
    [
        *(
            "pages.home",
            "*.example",
            "",
            "a b",
            "a,b.example",
            "a.example\0.b",
            "A.example",
            "b\xfccher.example",
            "x" * 254,
            "." * 3,
        ),
        *("a.example\n", "192.0.2.07", "2001:DB8::1", "DNS:a.example"),
    ],
)
def test_what_is_no_canonical_host_of_others_is_refused(
    tmp_path: Path, authority: CertificateAuthority, host: str
) -> None:
    with serving(tmp_path, authority) as path:
        answers = asked(path, public_der(KEY), host.encode() or b" ", b"a.example")
    assert answers[0].startswith(b"-")
    assert answers[1].startswith(b"+"), "the next order is not affected"


@pytest.mark.parametrize(
    "key",
    [
        *(b"x", b"\x30\x82\xff\xff", b"k" * (MAX_ORDER + 1)),
        pytest.param(public_der(rsa.generate_private_key(65537, 2048)), id="rsa"),
    ],
)
def test_a_client_without_a_usable_key_is_dropped(tmp_path: Path, authority: CertificateAuthority, key: bytes) -> None:
    with serving(tmp_path, authority) as path:
        assert asked(path, key, b"a.example") == []
        assert len(asked(path, public_der(KEY), b"a.example")) == 1, "others go on"


def test_the_key_of_the_authority_gets_no_second_certificate(tmp_path: Path, authority: CertificateAuthority) -> None:
    with serving(tmp_path, authority) as path:
        (answer,) = asked(path, public_der(authority.key), b"a.example")
    assert answer == b"-the key of the authority"


def test_signing_is_limited_in_rate(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "BURST", 3.0)
    now = 100.0
    with bind_unix_socket(tmp_path / "s", socket.SOCK_SEQPACKET, signing.MAX_CLIENTS) as listener:
        served = Signer(listener, lambda: authority, clock=lambda: now)

        def count() -> int:
            for number in range(10):
                try:
                    served.sign(KEY.public_key(), "a.example")
                except RefusedOrder:
                    return number
            return 10

        assert count() == 3
        now += 2 / signing.RATE
        assert count() == 2
        served.close()


def test_a_crowd_of_new_hosts_is_no_failure_of_a_trial(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "BURST", 1.0)
    monkeypatch.setattr(signing, "RATE", 0.0)
    trials = [f"m{minute}{signing.TRIAL_ZONE}".encode() for minute in range(51)]
    with serving(tmp_path, authority) as path:
        answers = asked(path, public_der(KEY), b"news.example", b"video.example", *trials)
    assert [answer[:1] for answer in answers] == [b"+", b"-", *50 * [b"+"], b"-"]


def test_more_clients_than_the_limit_are_turned_away(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "MAX_CLIENTS", 2)
    with serving(tmp_path, authority) as path, contextlib.ExitStack() as stack:
        for _ in range(2):
            held = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            held.connect(str(path))
        assert asked(path, public_der(KEY), b"a.example") == []


def test_the_signer_knows_the_name_of_our_pages() -> None:
    assert signer.PAGES_NAME == own_pages.PAGES_NAME
