"""Compiled lists that come with a signed bundle: made once by an office, and installed by its sites.

The bundle names an index, and the index names every file of a generation by its SHA-256. A site downloads the objects
that it lacks, so that what has come stays when the rest fails, and puts the generation in its place by one rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.bundles import (
    MAX_INDEX,
    OBJECTS,
    BundledFile,
    BundledLists,
    BundledSource,
    BundleError,
    GenerationIndex,
    Manifest,
)
from hedgerow.app.control.lists.list_jobs import ListFolders
from hedgerow.app.control.lists.list_sources import CopyStatuses, all_recommended, sources_of
from hedgerow.backoff import pause_after
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.blocklists.download_store import CopyStatus
from hedgerow.blocklists.generation import FORMAT_VERSION, read_meta
from hedgerow.blocklists.list_parser import flush_folder, link_or_copy
from hedgerow.blocklists.sources import Source
from hedgerow.codec import decode, encode
from hedgerow.files import error_text
from hedgerow.policies.model import Policy
from hedgerow.policies.network import BundleSource, ListSelection

if TYPE_CHECKING:
    pass

log = logging.getLogger("hedgerow.lists")

TOO_OLD_S = 3 * 86400.0
"""Age of compiled lists from which on a site fetches lists by itself."""
RETRY_S, RETRY_AT_MOST_S = 60.0, 3600.0
"""Pause after the first failure; it doubles with each further one."""
_ORIGIN = "bundle.json"
_PREFIX = "bundle-"
_WAITING = ".bundle"  # objects that have come, next to the downloads of lists
_MAX_BYTES, _MAX_FILES = 2 << 30, 5000
_SLOWEST = 16 << 10
"""Bytes per second below which a download is given up."""
_ROOM = 64 << 20
"""Bytes that stay free on the disk."""
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}(?:/[a-z0-9][a-z0-9._-]{0,80})?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whose signature a generation had, and what it contains."""

    key: str
    made_at: int
    index: GenerationIndex


@dataclass(frozen=True, slots=True)
class BundledGeneration:
    """A generation of a bundle, in its place."""

    folder: Path
    origin: _Origin

    def suits(self, policy: Policy, now: float) -> bool:
        """Return True if a site with this policy may use it instead of lists that it fetches by itself.

        It has all lists of the policy, is signed with the key of the policy's bundle and not too old. Beyond the
        policy's lists, it has recommended ones only.
        """
        bundle, wanted = policy.network.bundle, {_key_of(each) for each in sources_of(policy)}
        if bundle is None or not bundle.lists or bundle.key != self.origin.key or now - self.origin.made_at > TOO_OLD_S:
            return False
        more = {each.key for each in self.origin.index.sources} - wanted
        is_more_allowed = policy.network.lists is ListSelection.RECOMMENDED and more <= {
            _key_of(each) for each in all_recommended()
        }
        return wanted <= {each.key for each in self.origin.index.sources} and (not more or is_more_allowed)


class BundledCopies(CopyStatuses):
    """The lists of a bundled generation, as if they had been downloaded here."""

    def __init__(self, generation: BundledGeneration) -> None:
        super().__init__(generation.folder)
        texts = {
            (each.name, each.category): generation.folder / each.text for each in read_meta(generation.folder).sources
        }
        self._copies = {
            each.key: CopyStatus(texts.get((each.name, each.category)), float(each.fetched))
            for each in generation.origin.index.sources
            if each.url
        }

    def status(self, source: Source) -> CopyStatus:
        return self._copies.get(_key_of(source), CopyStatus())

    def failing_for(self, source: Source) -> float:  # noqa: ARG002 (the office has fetched it)
        return 0.0


def _key_of(source: Source) -> tuple[str, str, str, str]:
    place = (
        ""
        if source.path is not None and source.name.startswith(("starter/", "corrections/"))
        else str(source.path or "")
    )
    return source.name, source.category, source.url or place, source.format


def index_of(generation: Path, sources: Sequence[Source], copies: CopyStatuses) -> GenerationIndex:
    """Return the index of a generation that was compiled from these lists.

    Those without a copy are left out. Raises OSError.
    """
    found = [
        BundledSource(*_key_of(each), int(copies.status(each).checked or 0))
        for each in sources
        if not each.url or copies.status(each).path is not None
    ]
    paths = {
        str(path.relative_to(generation)): path
        for path in sorted(generation.rglob("*"))
        if path.is_file() and path.name != _ORIGIN
    }
    return GenerationIndex(
        tuple(found), {name: BundledFile(_digest_of(path), path.stat().st_size) for name, path in paths.items()}
    )


class BundledListInstaller:
    """Installer of compiled lists from bundles.

    `newest` is the generation that was installed last, and `problem` says why no newer one is.
    """

    def __init__(self, folders: ListFolders, copies: CopyStatuses) -> None:
        self._folders, self._copies = folders, copies
        self.newest = _newest(folders.generations)
        self.problem = ""
        self._failures, self._retry_at, self._failed = 0, 0.0, ""
        self.is_damaged = False
        """Set it to have the newest generation installed again."""

    def for_policy(self, policy: Policy, in_force: Path | None, failed: Collection[Source]) -> BundledGeneration | None:
        """Return the newest generation if it suits a policy, or if those `in_force` are a bundle's and the policy's are
        not here yet.
        """
        if self.newest is None or self.newest.suits(policy, time.time()):
            return self.newest
        is_bundled = in_force is not None and in_force.name.startswith(_PREFIX)
        return self.newest if is_bundled and not self._are_fetched(policy, failed) else None

    def _are_fetched(self, policy: Policy, failed: Collection[Source]) -> bool:
        """Return True if some of the policy's lists have been downloaded here, and all others have been tried."""
        remote = [each for each in sources_of(policy) if each.url]
        missing = [each for each in remote if self._copies.status(each).path is None]
        return not remote or (len(missing) < len(remote) and all(each in failed for each in missing))

    async def take(self, seen: tuple[BundleSource, Manifest] | None, local: Collection[str] = ()) -> None:
        """Install the lists of the bundle that was seen last, unless they are in place, or have just failed.

        On failure, the last stay. `local` are the policy's own names and networks.
        """
        lists = seen[1].lists if seen is not None and seen[0].lists else None
        if seen is None or lists is None or self._is_installed(seen[0], lists):
            self.problem, self._failures, self._failed = "", 0, ""
            return
        if lists.digest == self._failed and time.monotonic() < self._retry_at:
            return
        try:
            await asyncio.to_thread(self._install, seen[0], lists, local)
        except (BundleError, OSError) as error:
            self._failures, self._failed = (self._failures + 1 if lists.digest == self._failed else 1), lists.digest
            self._retry_at = time.monotonic() + pause_after(self._failures, first=RETRY_S, longest=RETRY_AT_MOST_S)
            why = error_text(error) if isinstance(error, OSError) else str(error)
            before, self.problem = self.problem, f"the compiled lists of the bundle are not taken over: {why}"
            if self.problem != before:
                log.warning("%s", self.problem)
        else:
            self.problem, self._failures, self._failed = "", 0, ""

    def _is_installed(self, source: BundleSource, lists: BundledLists) -> bool:
        newest = self.newest
        return not self.is_damaged and newest is not None and newest.folder == self._place(source, lists)

    def _place(self, source: BundleSource, lists: BundledLists) -> Path:
        name = hashlib.sha256(f"{source.key} {lists.made_at} {lists.digest}".encode()).hexdigest()
        return self._folders.generations / f"{_PREFIX}{name[:20]}"

    def _install(self, source: BundleSource, lists: BundledLists, local: Collection[str]) -> None:
        if lists.layout != FORMAT_VERSION:
            raise BundleError(f"they are of another version of Hedgerow (layout {lists.layout}, here {FORMAT_VERSION})")
        waiting = self._folders.downloads / _WAITING
        waiting.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._fetch_and_assemble(source, lists, waiting, local)
        except OSError:  # such as a full disk: what has come must not fill it
            shutil.rmtree(waiting, ignore_errors=True)
            raise

    def _fetch_and_assemble(
        self, source: BundleSource, lists: BundledLists, waiting: Path, local: Collection[str]
    ) -> None:
        objects = source.url.rpartition("/")[0] + f"/{OBJECTS}/"
        _fetch(objects, BundledFile(lists.digest, lists.size), waiting, MAX_INDEX, local)
        try:
            index = decode(GenerationIndex, (waiting / lists.digest).read_bytes())
        except ValueError:
            raise BundleError("their index is of another version of Hedgerow") from None
        _check_index(index)
        here = self._known_files()
        missing = {each.digest: each for each in index.files.values() if each.digest not in here}
        _check_room(waiting, missing.values())
        for each in missing.values():
            _fetch(objects, each, waiting, each.size, local)
        origin = _Origin(source.key, lists.made_at, index)
        with self._folders.locked():  # nothing is deleted meanwhile
            self.newest, self.is_damaged = _assemble(self._place(source, lists), origin, here, waiting), False
        shutil.rmtree(waiting, ignore_errors=True)

    def _known_files(self) -> dict[str, Path]:
        """Return the files of the newest generation by their digests; they are verified where they are used."""
        if self.newest is None:
            return {}
        files = {each.digest: self.newest.folder / name for name, each in self.newest.origin.index.files.items()}
        return {digest: path for digest, path in files.items() if path.exists() and _digest_of(path) == digest}


def _check_index(index: GenerationIndex) -> None:
    names, files = index.files.keys(), index.files.values()
    is_good = all(map(_FILE_NAME.fullmatch, names)) and all(
        _DIGEST.fullmatch(each.digest) and each.size >= 0 for each in files
    )
    if not is_good or len(files) > _MAX_FILES or sum(each.size for each in files) > _MAX_BYTES:
        raise BundleError("their index names files that no generation has")


def _check_room(folder: Path, files: Iterable[BundledFile]) -> None:
    wanted = sum(each.size for each in files if not (folder / each.digest).exists()) + _ROOM
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise BundleError(f"they need {wanted >> 20} MB of the disk, which has {free >> 20} MB left")


def _fetch(objects: str, wanted: BundledFile, waiting: Path, limit: int, local: Collection[str]) -> None:
    """Download an object, unless it is here. Raises BundleError and OSError."""
    from hedgerow.blocklists.outgoing import download_pieces  # few sites have a bundle
    from hedgerow.blocklists.outgoing_guard import OutgoingGuard, RefusedError, UnreachableError

    path, digest = waiting / wanted.digest, hashlib.sha256()
    if path.exists():
        return
    part = waiting / ".part"
    try:
        with part.open("wb") as file:
            for piece in download_pieces(
                objects + wanted.digest, limit, 60 + wanted.size / _SLOWEST, OutgoingGuard(local=local)
            ):
                digest.update(piece)
                file.write(piece)
    except (UnreachableError, RefusedError, TimeoutError) as error:
        raise BundleError(f"{OBJECTS}/{wanted.digest} can't be fetched: {error}") from None
    if digest.hexdigest() != wanted.digest:
        raise BundleError(f"{OBJECTS}/{wanted.digest} is not what the bundle says")
    part.replace(path)


def _assemble(place: Path, origin: _Origin, here: dict[str, Path], waiting: Path) -> BundledGeneration:
    """Put a generation together in its place, every file of it verified. Raises BundleError and OSError."""
    place.parent.mkdir(exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        for name, each in origin.index.files.items():
            (building / name).parent.mkdir(exist_ok=True)
            link_or_copy(here.get(each.digest, waiting / each.digest), building / name)
            if _digest_of(building / name) != each.digest:
                (waiting / each.digest).unlink(missing_ok=True)
                raise BundleError(f"{name} was damaged on the disk here")
        if not is_usable(building):
            raise BundleError("they are no generation of this version")
        (building / _ORIGIN).write_bytes(encode(origin))
        for folder in {building, *((building / name).parent for name in origin.index.files)}:
            flush_folder(folder)
        building.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
        building.rename(place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return BundledGeneration(place, origin)


def _newest(generations: Path) -> BundledGeneration | None:
    found = []
    for folder in generations.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            found.append(BundledGeneration(folder, decode(_Origin, (folder / _ORIGIN).read_bytes())))
    usable = (each for each in sorted(found, key=lambda each: -each.origin.made_at) if is_usable(each.folder))
    return next(usable, None)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
