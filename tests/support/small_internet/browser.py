"""Debian's Chromium, and how it is told to trust a server or an authority of the test."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHROMIUM = Path("/usr/bin/chromium")


def pin_of(address: tuple[str, int]) -> str:
    """The hash of a server's public key, as Chromium's command line takes it."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


CAN_TRUST = CHROMIUM.exists() and shutil.which("certutil") is not None


def trusting(authority: Path, home: Path) -> dict[str, str]:
    """The environment of a browser whose user, at home in `home`, has installed this authority; for where `CAN_TRUST`."""
    keys = home / ".pki" / "nssdb"
    keys.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{keys}", "-N", "--empty-password"], check=True)
    subprocess.run(["certutil", "-d", f"sql:{keys}", "-A", "-t", "C,,", "-n", "authority", "-i", str(authority)], check=True)
    return {**os.environ, "HOME": str(home)}
