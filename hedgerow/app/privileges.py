"""The privileges of each process: the one table of who may do what.

A process of `WORKERS` confines itself once it has opened what only its start needs, and before it serves. It can then
read its code, the system's network settings, the published snapshots and lists, and nothing else of the state
directory: neither the CA's key nor the journal, the tokens or the addresses for notices.
"""

from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.identities import JOBS, OF_IDENTITIES, SIGNER, become, find_identity
from hedgerow.confinement import (
    Capability,
    Confinement,
    Sockets,
    code_paths,
    confine,
    forbid_new_privileges,
    keep_capabilities,
    without,
)

if TYPE_CHECKING:  # jobs are light
    from hedgerow.app.settings import Settings
    from hedgerow.policies.model import Policy

CAPABILITIES: dict[str, frozenset[Capability]] = {
    # Root's files stay within reach where root starts Hedgerow.
    "control": frozenset({Capability.CHOWN, Capability.DAC_OVERRIDE, Capability.FOWNER}),
    "gateway": frozenset({Capability.NET_ADMIN}),
    "dns": frozenset(),
    "gate": frozenset(),
    "inspector": frozenset(),
    "signer": frozenset(),
}
"""The capabilities that each role keeps, if it has them.

Jobs and scanners keep none; ports are opened before anything starts.
"""

SUPERVISOR = "supervisor"
CAPABILITIES[SUPERVISOR] = frozenset({Capability.SETPCAP}).union(*CAPABILITIES.values())
"""The supervisor and the zygote, which parse nothing but our own messages, keep what their children need.

With `SETPCAP` these give up the rest for good.
"""

LISTENERS = {"dns", "gate"}
"""Workers that can open ports themselves if they inherit none."""


def confine_worker(role: str, settings: Settings, policy: Policy, generation: Path) -> None:
    """Confine this process as a worker with these rules and lists, as far as the kernel can. Raises OSError."""
    paths = {"inspector": _inspector_paths, "gate": _gate_paths, "dns": _dns_paths}[role](settings, policy)
    shared = (
        *without(code_paths(), settings.state),
        settings.published,
        settings.state / "generations",
        generation,
        *_extra_files(settings),
    )
    writable = (settings.inspector_sockets, settings.refused) if role == "inspector" else ()
    kept = CAPABILITIES[role] | needed_by_root(settings.state)
    ends_scanners = role == "inspector"
    confine(Confinement((*shared, *paths), writable, kept, may_listen=role in LISTENERS, may_signal=ends_scanners))


def confine_signer(settings: Settings) -> None:
    """Confine this process as the signer, which listens already, and give it its own user id. Raises OSError."""
    readable = (*without(code_paths(), settings.state), settings.authority, settings.server_name.parent)
    if settings.has_identities:
        become(SIGNER)
    confine(Confinement(readable, (), CAPABILITIES["signer"] | needed_by_root(settings.state), Sockets.NONE))


def confine_job(read: Iterable[Path] = (), write: Iterable[Path] = (), state: Path | None = None) -> None:
    """Confine this process as a job that uses its own code and these files, as far as the kernel can.

    Raises OSError.
    """
    confine(Confinement((*code_paths(), *read), tuple(write), needed_by_root(state)))


def needed_by_root(state: Path | None) -> frozenset[Capability]:
    """The capabilities by which root uses a program in somebody's home, or a state directory of another user; none for
    others.
    """
    if os.geteuid() != 0:
        return frozenset()
    programs = [Path(place).resolve() for place in (__file__, sys.prefix, sys.executable)]
    places = [*programs, state.resolve()] if state is not None else programs
    strange = any(_is_closed_to_root(folder) for place in places for folder in (place, *place.parents))
    return frozenset({Capability.CHOWN, Capability.DAC_OVERRIDE, Capability.FOWNER} if strange else ())


def _is_closed_to_root(path: Path) -> bool:
    """Return True if root without capabilities, who is like any other user, can't read a file or enter a directory."""
    status = path.stat()
    return status.st_uid != 0 and not status.st_mode & (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH)


def keep_role_capabilities(role: str, state: Path | None = None) -> None:
    """Drop the capabilities that a role does not need, and every way to gain others, and let no crash write the memory
    of this process or of its children to the disk. Raises OSError.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    has_users = role == SUPERVISOR and os.geteuid() == 0 and any(map(find_identity, (SIGNER, JOBS)))
    others = OF_IDENTITIES if has_users else frozenset()
    keep_capabilities(CAPABILITIES[role] | needed_by_root(state) | others)
    forbid_new_privileges()


def _extra_files(settings: Settings) -> Iterator[Path]:
    """Files outside the state directory: snapshots in memory, the fallback's lists, and the CA of the upstreams."""
    from hedgerow.app.settings import memory_folder

    yield memory_folder(settings.state) / "published"
    yield memory_folder(settings.state) / "fallback"
    yield settings.run / "fallback"
    if settings.upstream_ca is not None:
        yield settings.upstream_ca


def _inspector_paths(settings: Settings, policy: Policy) -> Iterator[Path]:
    yield settings.pass_key
    yield from map(Path, policy.phrase_lists)


def _gate_paths(settings: Settings, _policy: Policy) -> Iterator[Path]:
    yield settings.pass_key
    yield settings.refused


def _dns_paths(settings: Settings, policy: Policy) -> Iterator[Path]:
    yield settings.dns_certificate.parent
    yield from certificate_folders(settings, policy)


def certificate_folders(settings: Settings, policy: Policy) -> frozenset[Path]:
    """The directories of the policy's certificate and key: whoever renews them replaces the files, or links
    to others.
    """
    named = policy.network.certificate
    if named is None:
        return frozenset()
    files = [Path(named.chain), Path(named.key)]
    folders = {folder for file in files for folder in (file.parent, file.resolve().parent)}
    return frozenset(without(folders, settings.state))
