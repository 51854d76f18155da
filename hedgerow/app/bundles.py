"""Signed bundles of the policies above sites and of compiled lists, which any web server can serve.

A bundle is the file `bundle.json` and, next to it, `objects/DIGEST` for each text or file, named by its SHA-256.
`bundle.json` holds a manifest, as text, and its signature (Ed25519, RFC 8032). Objects never change, and the manifest
is replaced last, so that a copy under way is good.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hedgerow.app.signing_keys import SigningKey, canonical
from hedgerow.blocklists.generation import FORMAT_VERSION
from hedgerow.codec import decode, encode
from hedgerow.files import write_atomically
from hedgerow.policies.network import BundleSource

BUNDLE, OBJECTS = "bundle.json", "objects"
MAX_BUNDLE, MAX_INDEX = 256 * 1024, 2 << 20
_CONTEXT = "hedgerow bundle\n"  # so that a signature of something else is none of a bundle
_AHEAD_S = 86400.0
"""Seconds by which clocks may differ.

A bundle from further ahead was made by a wrong clock, and all others would be older than it.
"""
_NO_TIME = 1 << 37


class BundleError(Exception):
    """A bundle that is not taken over.

    The message is the rest of a sentence about it. `may_pass`: its server did not send it.
    """

    may_pass = False


@dataclass(frozen=True, slots=True)
class BundledText:
    """A version of a level's policy: its number, and the digest and size of its text."""

    version: int
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class BundledFile:
    """A file by its digest, with its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class BundledSource:
    """A list of a generation.

    `url` is empty for those that come with Hedgerow; `fetched` is in seconds since the epoch.
    """

    name: str
    category: str
    url: str
    format: str
    fetched: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.name, self.category, self.url, self.format


@dataclass(frozen=True, slots=True)
class GenerationIndex:
    """The lists and the files of a generation, each file by its path in there."""

    sources: tuple[BundledSource, ...]
    files: dict[str, BundledFile]


@dataclass(frozen=True, slots=True)
class BundledLists:
    """Compiled lists: the digest and size of their index, the layout of their files, and when they were made."""

    digest: str
    size: int
    layout: int
    made_at: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The signed part of a bundle. `number` grows with each one; instants are seconds since the epoch.

    `levels` has the organisation's policy under `@` and those of groups under `@NAME`. `lists` are None if sites fetch
    them by themselves.
    """

    number: int
    made_at: int
    expires_at: int
    levels: dict[str, BundledText]
    lists: BundledLists | None = None
    format: int = 1


@dataclass(frozen=True, slots=True)
class _SignedManifest:
    manifest: str
    signature: str


def write_bundle(
    folder: Path,
    texts: Mapping[str, tuple[int, str]],
    key: SigningKey,
    now: float,
    days: float,
    lists: tuple[GenerationIndex, Path] | None = None,
) -> Manifest:
    """Write a bundle of the versions and texts of levels, and of lists compiled into a generation; None keeps those of
    the bundle before.

    Raises OSError, and BundleError for a folder with a newer or another's bundle.
    """
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
    bundled = before.lists if before is not None else None
    if lists is not None:
        index, generation = encode(lists[0]), lists[1]
        bundled = BundledLists(hashlib.sha256(index).hexdigest(), len(index), FORMAT_VERSION, int(now))
        for name, each in lists[0].files.items():
            _copy(generation / name, folder / OBJECTS / each.digest)
        write_atomically(folder / OBJECTS / bundled.digest, index, 0o644)
    made = Manifest(number, int(now), int(now + days * 86400), levels, bundled)
    text = canonical(asdict(made))
    write_atomically(folder / BUNDLE, encode(_SignedManifest(text, key.sign(_CONTEXT + text))), 0o644)
    # a site may be at the one before
    used = _objects_of(folder, made) | (_objects_of(folder, before) if before is not None else set())
    for path in (folder / OBJECTS).iterdir():
        if path.name not in used:
            path.unlink()
    return made


def _copy(path: Path, to: Path) -> None:
    if to.exists():
        return
    part = to.with_name(f".{to.name}.part")
    shutil.copyfile(path, part)
    part.chmod(0o644)
    part.replace(to)


def _objects_of(folder: Path, manifest: Manifest) -> set[str]:
    used = {each.digest for each in manifest.levels.values()}
    if manifest.lists is not None:
        used.add(manifest.lists.digest)
        with contextlib.suppress(OSError, ValueError):
            index = decode(GenerationIndex, (folder / OBJECTS / manifest.lists.digest).read_bytes())
            used |= {each.digest for each in index.files.values()}
    return used


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
    """Raise BundleError for a bundle that is older than the number `newest`, that has expired, or that was made by a
    wrong clock.
    """
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
    """Return a number for a text that is in no store, the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def key_text(key: Ed25519PublicKey) -> str:
    """Return a public key as `network.bundle` has it."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """Read a key from `network.bundle`. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(slots=True)
class LatestBundle:
    """The good bundle that was seen last, with its compiled lists if it has some. Who follows a bundle keeps it.

    `has_looked` is True from the first look at a bundle on.
    """

    seen: tuple[BundleSource, Manifest] | None = None
    has_looked: bool = False
