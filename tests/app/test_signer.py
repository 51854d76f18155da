"""The signer as a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from small_internet.running import wait_until

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.proxy.certificate_authority import ensure_ca, load_ca, rotate_ca
from hedgerow.proxy.signing import SIGNED


def test_a_new_authority_signs_from_its_first_moment(tmp_path: Path) -> None:
    """An inspector that starts after the change keeps what it gets, so that a certificate of the old one would stay in
    use.
    """
    place = Endpoint("127.0.0.1", 1)
    settings = Settings(tmp_path, None, place, place, place)
    settings.run.mkdir()
    settings.save()
    ensure_ca(settings.authority)
    key = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    command = [sys.executable, "-P", "-m", "hedgerow.app.signer", "signer", "0", str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_until(settings.signer_socket.exists, 20, "the signer")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as inspector:
            inspector.settimeout(20)
            inspector.connect(str(settings.signer_socket))
            inspector.send(key)
            for number in range(3):
                inspector.send(f"host-{number}.example".encode())
                answer = inspector.recv(65536)
                assert answer.startswith(SIGNED)
                leaf = x509.load_der_x509_certificate(answer.removeprefix(SIGNED))
                leaf.verify_directly_issued_by(load_ca(settings.authority).certificate)
                rotate_ca(settings.authority)
    finally:
        with contextlib.suppress(OSError):
            process.communicate(timeout=20)
