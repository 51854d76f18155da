"""Debian's Chromium, and how it is told to trust a server of the test."""

from __future__ import annotations

import base64
import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHROMIUM = Path("/usr/bin/chromium")


def pin_of(address: tuple[str, int]) -> str:
    """The hash of a server's public key, as Chromium's command line takes it."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()
