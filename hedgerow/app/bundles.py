"""Signed bundles of the policies above sites, which any web server can serve.

A bundle is the file `bundle.json` and, beside it, `objects/DIGEST` for each text, named by its SHA-256. `bundle.json` holds a manifest, as
text, and its signature (Ed25519, RFC 8032). Objects never change, and the manifest is replaced last, so that a copy under way is good.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hedgerow.app.files import write_atomically
from hedgerow.codec import decode, encode
from hedgerow.journal.statements import StatementKey, canonical

BUNDLE, OBJECTS = "bundle.json", "objects"
MAX_BUNDLE = 256 * 1024
_CONTEXT = "hedgerow bundle\n"  # so that a signature of something else is none of a bundle
_AHEAD_S = 86400.0
"""Seconds by which clocks may differ. A bundle from further ahead was made by a wrong clock, and all others would be older than it."""
_NO_TIME = 1 << 37


class BundleError(Exception):
    """A bundle that is not taken over. The message is the rest of a sentence about it. `may_pass`: its server did not send it."""

    may_pass = False


@dataclass(frozen=True, slots=True)
class BundledText:
    """A version of a level's policy: its number, and the digest and size of its text."""

    version: int
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The signed part of a bundle. `number` grows with each one; instants are seconds since the epoch.

    `levels` has the organisation's policy under `@` and those of groups under `@NAME`.
    """

    number: int
    made_at: int
    expires_at: int
    levels: dict[str, BundledText]
    format: int = 1


@dataclass(frozen=True, slots=True)
class _SignedManifest:
    manifest: str
    signature: str


def write_bundle(folder: Path, texts: Mapping[str, tuple[int, str]], key: StatementKey, now: float, days: float) -> Manifest:
    """Write a bundle of the versions and texts of levels. Raises OSError, and BundleError for a folder with a newer or another's bundle."""
    number = int(now)
    try:
        before = open_bundle((folder / BUNDLE).read_bytes(), key.public)
    except FileNotFoundError:
        before = None
    if before is not None and before.number >= number:
        number = before.number + 1
    levels = {}
    (folder / OBJECTS).mkdir(parents=True, exist_ok=True)
    for level, (version, text) in texts.items():
        data = text.encode()
        levels[level] = BundledText(version, hashlib.sha256(data).hexdigest(), len(data))
        write_atomically(folder / OBJECTS / levels[level].digest, data, 0o644)
    made = Manifest(number, int(now), int(now + days * 86400), levels)
    text = canonical(asdict(made))
    write_atomically(folder / BUNDLE, encode(_SignedManifest(text, key.sign(_CONTEXT + text))), 0o644)
    return made


def open_bundle(data: bytes, key: Ed25519PublicKey) -> Manifest:
    """Return the manifest of a bundle that the key has signed. Raises BundleError."""
    try:
        signed = decode(_SignedManifest, data)
    except ValueError:
        raise BundleError("it is not a bundle") from None
    try:
        key.verify(base64.b64decode(signed.signature, validate=True), (_CONTEXT + signed.manifest).encode())
    except (InvalidSignature, ValueError):
        raise BundleError("its signature is broken, or of another key than the one in network.bundle") from None
    try:
        manifest = decode(Manifest, signed.manifest.encode())
    except ValueError:
        raise BundleError("it is of another version of Hedgerow") from None
    if manifest.format != 1 or not 0 <= max(manifest.number, manifest.expires_at) < _NO_TIME:
        raise BundleError("it is of another version of Hedgerow")
    return manifest


def check_age(manifest: Manifest, newest: int, now: float) -> None:
    """Raise BundleError for a bundle that is older than the number `newest`, that has expired, or that was made by a wrong clock."""
    if manifest.number < newest:
        raise BundleError(f"it is older than the one that was taken over last, which was made at {_instant(newest)}")
    if now > manifest.expires_at:
        raise BundleError(f"it expired at {_instant(manifest.expires_at)}")
    if manifest.number > now + _AHEAD_S:
        raise BundleError(f"it was made at {_instant(manifest.number)}: its maker's clock is wrong, or the one here")


def check_text(text: BundledText, data: bytes) -> str:
    """Return an object as text. Raises BundleError if it is another one."""
    if hashlib.sha256(data).hexdigest() != text.digest:
        raise BundleError(f"{OBJECTS}/{text.digest} is not what the bundle says")
    return data.decode("utf-8", "replace")


def version_of(text: str) -> int:
    """Return a number for a text that stands in no store, the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def key_text(key: Ed25519PublicKey) -> str:
    """Return a public key as `network.bundle` has it."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """Read a key from `network.bundle`. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
