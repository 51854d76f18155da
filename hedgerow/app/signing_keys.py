"""Keys with which a site or an office signs what others check later: Ed25519 (RFC 8032), of canonical JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hedgerow.files import chown_to_owner, make_private_folder, write_atomically

_MAKING = threading.Lock()
"""Held while a key is looked for, so that threads that need it first at the same moment do not make two."""


class SigningKey:
    """The private key of a site, of an office, or of the store's owner."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.fingerprint = fingerprint(self.public)

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """Load a key in PEM. Raises ValueError."""
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("not a private key for Ed25519")
        return cls(private)

    @classmethod
    def make(cls) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_make(cls, file: Path) -> Self:
        """Return the key in a file, which is made first if need be. Raises OSError and ValueError."""
        with _MAKING:
            try:
                return cls.parse(file.read_bytes())
            except FileNotFoundError:
                made = cls.make()
                if not file.parent.exists():  # a folder that somebody names stays as it is
                    make_private_folder(file.parent)
                    chown_to_owner(file.parent.parent, [file.parent])
                write_atomically(file, made.pem)
                return made

    @property
    def pem(self) -> bytes:
        """The private key as PEM."""
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        return self._private.private_bytes(*form, serialization.NoEncryption())

    @property
    def public_pem(self) -> str:
        """The public key as PEM."""
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return self.public.public_bytes(*form).decode()

    @property
    def seed(self) -> bytes:
        """The private key as octets, from which further secrets can be derived."""
        return self._private.private_bytes_raw()

    def sign(self, text: str) -> str:
        """Return the signature of a text, in base64."""
        return base64.b64encode(self._private.sign(text.encode())).decode()


def fingerprint(public: Ed25519PublicKey) -> str:
    """Return the name of a public key: the first half of its SHA-256."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:32]


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Read a public key. Raises ValueError."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not a public key for Ed25519")
    return key


def is_signed(text: str, signature: str, key: Ed25519PublicKey) -> bool:
    """Return True if the key has made this signature of a text."""
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def canonical(value: Any) -> str:
    """Return JSON that is the same for the same value.

    >>> canonical({"b": [1, 2], "a": "é"})
    '{"a":"\\\\u00e9","b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
