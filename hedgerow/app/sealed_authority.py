"""A site's new certificate authority, encrypted for the machines that hold the one before."""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hedgerow.proxy.certificate_authority import CertificateAuthority, CertificateAuthorityError, key_pem, parse_ca

_NONCE_BYTES = 12


def seal_authority(old: CertificateAuthority, new: CertificateAuthority) -> str:
    """Encrypt an authority with its key for those that hold the one before."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return to_text(nonce + _cipher_of(old).encrypt(nonce, key_pem(new.key) + new.pem, old.fingerprint.encode()))


def open_authority(old: CertificateAuthority, text: str) -> CertificateAuthority:
    """Decrypt what `seal_authority` has made for this one. Raises CertificateAuthorityError."""
    try:
        sealed = from_text(text)
        return parse_ca(_cipher_of(old).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], old.fingerprint.encode()))
    except (InvalidTag, ValueError):
        raise CertificateAuthorityError("it can't be decrypted") from None


def _cipher_of(authority: CertificateAuthority) -> AESGCM:
    secret = authority.key.private_numbers().private_value.to_bytes(32)
    return AESGCM(HKDF(hashes.SHA256(), 32, None, b"hedgerow ca rotate").derive(secret))


def to_text(data: bytes) -> str:
    """Return octets as base64url text without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """Decode base64url text without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
