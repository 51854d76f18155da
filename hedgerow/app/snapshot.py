"""Snapshots: everything that decisions depend on, as one file that control writes and every worker reads.

Control renames the file into place, and workers notice the new file. No message can be lost, and a restarted worker
reads the same file. If a snapshot can't be read or its lists can't be opened, the last one stays in force.

A copy lies in memory, so that a change also comes into force on a full disk, and a damaged file harms nothing while
Hedgerow runs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

import hedgerow
from hedgerow.app.settings import memory_folder
from hedgerow.blocklists.catalogue import Catalogue, is_usable
from hedgerow.codec import decode, encode
from hedgerow.files import make_private_folder, write_atomically
from hedgerow.policies.growing import foreseen
from hedgerow.policies.model import DeviceId, Grant, Pause, Policy, Session
from hedgerow.policies.remembered import RememberedSite
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.sites_seen import SitesSeen, own_sites
from hedgerow.policies.time_model import SpentBudget

log = logging.getLogger("hedgerow.snapshot")

KEPT_LISTS = "kept-lists"
"""The directory of the copy of the lists in force, in the state directory."""

FILE_NAME = "published/snapshot.json"
"""Its place in the state directory. Workers can read nothing but its folder."""
_TIMEX_OCTETS, _TIME_ERROR = 208, 5  # struct timex and the state of an unsynchronised clock (adjtimex(2))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decisions depend on.

    `generation` is the directory of the compiled lists; `published` is in seconds since the epoch.

    `names` maps the current MAC and IP addresses of devices to their host names, as far as the policy uses these.
    `version` is the id under which the journal describes the policy and the lists, 0 if it does not. `denied` maps
    `denial_key`s to the instants at which a device's last request for a service or host was denied, for some time, and
    `denial_reasons` to what the person who did so said, if anything.
    `remembered` are sites that were recognised by their pages. `sites` is the file of those that this network has seen,
    if the policy closes new ones. `leases` maps IP to MAC addresses, as DHCP servers report them.
    """

    serial: int
    published: float
    policy: Policy
    generation: Path
    grants: tuple[Grant, ...] = ()
    pauses: tuple[Pause, ...] = ()
    spent: tuple[SpentBudget, ...] = ()
    sessions: tuple[Session, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    version: int = 0
    denied: dict[str, float] = field(default_factory=dict)
    remembered: dict[str, tuple[RememberedSite, ...]] = field(default_factory=dict)
    sites: Path | None = None
    leases: dict[str, str] = field(default_factory=dict)
    denial_reasons: dict[str, str] = field(default_factory=dict)

    def save(self, state: Path) -> None:
        make_private_folder((state / FILE_NAME).parent)
        write_atomically(state / FILE_NAME, encode(self))

    @staticmethod
    def load(state: Path, codec: SnapshotCodec | None = None) -> Snapshot:
        """Read the published snapshot.

        Raises OSError if there is none, ValueError if it is damaged or of another version.
        """
        data = (state / FILE_NAME).read_bytes()
        try:
            return (codec or SnapshotCodec()).decode(data)
        except ValueError as error:
            raise ValueError(f"{state / FILE_NAME} is not a snapshot of this version: {error}") from error

    @staticmethod
    def in_force(state: Path) -> Snapshot:
        """Read the snapshot or, if that is newer, its copy in memory. Raises as `load` does if there is neither."""
        return load_newest(snapshot_folders(state))


_TYPES = get_type_hints(Snapshot)
_Parts: Any = make_dataclass(
    "_Parts",
    [(each.name, msgspec.Raw if each.name == "policy" else _TYPES[each.name]) for each in fields(Snapshot)],
    frozen=True,
)
"""A snapshot whose policy is still JSON."""


class SnapshotCodec:
    """The codec of snapshots.

    It encodes a policy once, since with 20,000 devices it has megabytes and a grant does not change it.
    """

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._text = b""

    def encode_policy(self, policy: Policy) -> bytes:
        if self._policy is not policy:
            self._policy, self._text = policy, encode(policy)
        return self._text

    def encode(self, snapshot: Snapshot) -> bytes:
        values = {each.name: getattr(snapshot, each.name) for each in fields(Snapshot)}
        return encode(_Parts(**values | {"policy": msgspec.Raw(self.encode_policy(snapshot.policy))}))

    def decode(self, data: bytes) -> Snapshot:
        """Return the snapshot; a policy that is the same as in the last one is the same object. Raises ValueError.

        A field that this version does not know, or has and the data lacks, would change the policy silently: such data
        is refused.
        """
        parts = decode(_Parts, data)
        text = bytes(parts.policy)
        if self._policy is None or text != self._text:
            policy = decode(Policy, text)
            if encode(policy) != text:
                raise ValueError("the fields of the policy differ")
            self._policy, self._text = policy, text
        if encode(parts) != data:
            raise ValueError("its fields differ")
        return Snapshot(
            **{each.name: getattr(parts, each.name) for each in fields(Snapshot)} | {"policy": self._policy}
        )


def snapshot_folders(state: Path) -> tuple[Path, Path]:
    """The directories of the snapshot and of its copy in memory."""
    return state, memory_folder(state)


def load_newest(folders: Sequence[Path], codec: SnapshotCodec | None = None) -> Snapshot:
    """Return the newest usable snapshot.

    The first directory is the state's; a file in another counts only if its user owns that too.

    Raises OSError or ValueError, as for the first directory, if there is none.
    """
    found: list[Snapshot] = []
    failure: OSError | ValueError | None = None
    for folder in folders:
        try:
            if folder is folders[0] or _is_trusted(folder / FILE_NAME, folders[0]):
                found.append(Snapshot.load(folder, codec))
        except (OSError, ValueError) as error:
            failure = failure or error
    if not found:
        raise failure or FileNotFoundError(folders[0] / FILE_NAME)
    return max(found, key=lambda snapshot: snapshot.serial)


def _is_trusted(file: Path, state: Path) -> bool:
    return file.lstat().st_uid in {0, os.geteuid(), state.stat().st_uid}


def denial_key(device: DeviceId, subject: str) -> str:
    """Return the key of a denied request in `Snapshot.denied`."""
    return f"{device} {subject}"


CLOCK_TOLERANCE_S = 60.0
"""A clock that shows this much less than when the snapshot was published is wrong."""


class LoadedSnapshot:
    """An opened snapshot, with the lists mapped into memory. `asks_past`: its rulesets are asked for other times
    too, at which people have the profiles of their ages.

    What it has in common with the snapshot `before` is not opened again.
    """

    def __init__(self, snapshot: Snapshot, *, asks_past: bool = False, before: LoadedSnapshot | None = None) -> None:
        self.snapshot = snapshot
        self.policy = foreseen(snapshot.policy, snapshot.published) if asks_past else snapshot.policy
        corrections = self.policy.corrections
        is_same = (
            before is not None
            and before.snapshot.generation == snapshot.generation
            and before.policy.corrections == corrections
        )
        self.catalogue: Catalogue = (
            before.catalogue if before is not None and is_same else Catalogue.open(snapshot.generation, corrections)
        )
        state = (
            snapshot.grants,
            snapshot.pauses,
            self.catalogue,
            snapshot.spent,
            snapshot.sessions,
            snapshot.names,
            snapshot.version,
        )
        trusted_from = 0.0 if asks_past else snapshot.published - CLOCK_TOLERANCE_S
        self.rulesets: Rulesets = Rulesets(
            self.policy,
            *state,
            trusted_from,
            snapshot.remembered,
            _sites_seen(snapshot.sites, snapshot.policy),
            before.rulesets if before is not None else None,
            snapshot.leases,
        )


def _sites_seen(file: Path | None, policy: Policy) -> SitesSeen | None:
    """Read the sites that this network has seen. If that fails, no site counts as new."""
    try:
        return None if file is None else replace(SitesSeen.unpack(file.read_bytes()), own=own_sites(policy.network))
    except (OSError, ValueError) as error:
        log.error("No site counts as new, because %s can't be read: %s", file, error)
        return None


class SnapshotWatch:
    """Watch for new snapshots.

    It compares the identities of files, since control announces that there may be a new one, but not which.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._seen: tuple[tuple[int, int, int] | None, ...] = (None,) * len(folders)
        self._opened: LoadedSnapshot | None = None
        self._codec = SnapshotCodec()
        self.is_denied = False
        """True once this process may not read a new snapshot or its lists."""

    def open_if_new(self) -> LoadedSnapshot | None:
        """Open the snapshot if it is new.

        Returns None if it is not, or can't be opened; then the last one stays in force.
        """
        identities = tuple(identity_of(folder / FILE_NAME) for folder in self._folders)
        if identities == self._seen or not any(identities):
            return None
        self._seen = identities
        try:
            snapshot, last = load_newest(self._folders, self._codec), self._opened
            if last is not None and (snapshot.serial, snapshot.published) == (
                last.snapshot.serial,
                last.snapshot.published,
            ):
                return None  # only its other copy is new
            if last is None:
                snapshot = replace(snapshot, generation=usable_lists(snapshot.generation))
            view = LoadedSnapshot(snapshot, before=last)
        except (OSError, ValueError) as error:
            self.is_denied = isinstance(error, PermissionError)
            log.error("Can't use the snapshot %s: %s", self._folders[0] / FILE_NAME, error)
            return None
        self._opened = view
        return view


def usable_lists(generation: Path) -> Path:
    """Return the directory of compiled lists, or that of their copy if they are missing or damaged.

    Raises ValueError if the copy is too, or OSError if this process may not read them.
    """
    for folder in (generation, generation.parent.parent / KEPT_LISTS / generation.name):
        if is_usable(folder):
            return folder
    Catalogue.open(generation)
    raise ValueError(f"the lists {generation} are missing or damaged, and have no copy")


def identity_of(file: Path | str) -> tuple[int, int, int] | None:
    """Return the identity of a file, which differs from that of any file that takes its place; None without a file."""
    try:
        status = os.stat(file)  # noqa: PTH116 (many times per second)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class StartClock:
    """The clock at the start, which a machine without a battery may begin in 1970, or at its last shutdown.

    It is behind if it shows less than a time that has certainly passed. `latest` are such times, in seconds since the
    epoch.

    A clock that the kernel knows to be synchronised is right. Once it was right, it counts as right: a later change was
    made on purpose.
    """

    def __init__(
        self,
        latest: Iterable[float] = (),
        *,
        now: Callable[[], float] = time.time,
        is_synchronised: Callable[[], bool] | None = None,
    ) -> None:
        self._floor = max((Path(hedgerow.__file__).stat().st_mtime, *latest))
        self._now, self._is_synchronised = now, is_synchronised or kernel_is_synchronised
        self._is_right = False

    @property
    def is_behind(self) -> bool:
        """True while the clock shows less than what has passed already."""
        if not self._is_right:
            self._is_right = self._now() > self._floor - CLOCK_TOLERANCE_S or self._is_synchronised()
        return not self._is_right

    def at_least(self, now: float) -> float:
        """Return `now`, or the last known time while the clock is behind."""
        return max(now, self._floor) if self.is_behind else now


def kernel_is_synchronised() -> bool:
    """Return True if the kernel knows that the clock is synchronised, as by NTP."""
    import ctypes  # of the processes that load this module, only control asks

    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR
