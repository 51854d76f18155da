"""Snapshots: everything that decisions depend on, as one file that control writes and every worker reads.

Control renames the file into place, and workers notice the new file. No message can be lost, and a restarted worker reads the same file.
If a snapshot can't be read or its lists can't be opened, the last one stays in force.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.app.files import write_atomically
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.codec import decode, encode
from hedgerow.policies.model import DeviceId, Grant, Pause, Policy, Session
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import SpentBudget

log = logging.getLogger("hedgerow.snapshot")

FILE_NAME = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`generation` is the directory of the compiled lists; `published` is in seconds since the epoch.

    `names` maps the current MAC and IP addresses of devices to their host names, as far as the policy uses these. `version` is the id under
    which the journal describes the policy and the lists, 0 if it does not. `denied` maps `denial_key`s to the instants at which a device's
    last request for a host was denied, for some time.
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

    def save(self, state: Path) -> None:
        write_atomically(state / FILE_NAME, encode(self))

    @staticmethod
    def load(state: Path) -> Snapshot:
        """Read the published snapshot. Raises OSError if there is none, ValueError if it is damaged or of another version.

        A field that this version does not know, or has and the file lacks, would change the policy silently: such a file is refused.
        """
        data = (state / FILE_NAME).read_bytes()
        try:
            snapshot = decode(Snapshot, data)
        except ValueError as error:
            raise ValueError(f"{state / FILE_NAME} is not a snapshot of this version: {error}") from error
        if encode(snapshot) != data:
            raise ValueError(f"{state / FILE_NAME} is not a snapshot of this version: its fields differ")
        return snapshot


def denial_key(device: DeviceId, host: str) -> str:
    """Return the key of a denied request in `Snapshot.denied`."""
    return f"{device} {host}"


class LoadedSnapshot:
    """An opened snapshot, with the lists mapped into memory."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.policy = snapshot.policy
        self.catalogue = Catalogue.open(snapshot.generation)
        state = (snapshot.grants, snapshot.pauses, self.catalogue, snapshot.spent, snapshot.sessions, snapshot.names, snapshot.version)
        self.rulesets = Rulesets(snapshot.policy, *state)


class SnapshotWatch:
    """Detects a new snapshot by the file's identity, which is cheap enough to check ten times a second."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._seen: tuple[int, int, int] | None = None

    def open_if_new(self) -> LoadedSnapshot | None:
        """Open the snapshot if it is new. Returns None if it is not, or can't be opened; then the last one stays in force."""
        try:
            status = (self._state / FILE_NAME).stat()
        except OSError:
            return None
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        if identity == self._seen:
            return None
        self._seen = identity
        try:
            return LoadedSnapshot(Snapshot.load(self._state))
        except (OSError, ValueError) as error:
            log.error("Can't use the snapshot %s: %s", self._state / FILE_NAME, error)
            return None
