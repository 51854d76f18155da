"""Preparation of a run: memory, the state directory, its lock, the ports, and this process for the
supervisor's work.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import secrets
import socket
import sys
from dataclasses import replace
from pathlib import Path

from hedgerow.app.identities import arrange_folders, obstacle, obstacle_of_jobs
from hedgerow.app.listening import NOTHING_KEPT, KeptSockets, open_listeners
from hedgerow.app.privileges import SUPERVISOR, keep_role_capabilities
from hedgerow.app.settings import WILDCARD_HOSTS, Endpoint, Settings, make_memory_folder, remove_memory_folder
from hedgerow.app.snapshot import FILE_NAME
from hedgerow.confinement import LACKING_TEXT, adopt_orphans, missing_limits
from hedgerow.files import FolderLock, chown_to_owner, error_text, is_disk_error, make_private_folder, write_atomically
from hedgerow.policies.transports import LISTENERS, shared_ports
from hedgerow.sockets import raise_descriptor_limit

log = logging.getLogger("hedgerow.supervisor")

ANY_PORT_TRIES = 20
MIN_GROUP_BYTES = 180_000_000
"""Of all processes together: they take about 200 MB with `--profile small`, of which the kernel can drop what is mapped
from files.
"""
MIN_ADDRESS_SPACE = 512 << 20
"""Of one process (RLIMIT_AS): libraries map most of it and never touch it."""

# cgroup v2 and v1: folder and file by controller
_ROOTS = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}


class StartError(Exception):
    """Hedgerow can't start for a reason that the user can fix; the text is one sentence."""


def prepare_run(settings: Settings, kept: KeptSockets = NOTHING_KEPT) -> tuple[Settings, FolderLock]:
    """Create the state directory, take its lock and choose every port. Ports of `kept` sockets are ours already.

    If the disk is full, read-only or broken, the files of the run lie in memory, so that filtering goes on. Raises
    StartError.
    """
    if problem := memory_problem():
        raise StartError(problem)
    _refuse_shared_ports(settings.listeners)
    try:
        lock = _lock(settings, make_private_folder(settings.state))
    except OSError as error:
        settings = _in_memory(settings, error)
        lock = _lock(settings, settings.run)
    settings = replace(settings, page=tuple(place for place in settings.page if not _is_listened_on(place, settings)))
    kept.drop_others(settings)
    claimed = {
        name: claim_endpoint(endpoint, name, LISTENERS[name], kept) for name, endpoint in settings.listeners.items()
    }
    settings = replace(
        settings,
        dns=claimed["dns"],
        proxy=claimed["proxy"],
        web=claimed["web"],
        encrypted={name: claimed[name] for name in settings.encrypted},
        transparent=claimed.get("transparent"),
        page=tuple(place for place in settings.page if _is_free_for_page(place, kept)),
    )
    return _write_run_files(settings), lock


def _lock(settings: Settings, folder: Path) -> FolderLock:
    """Take the lock in `folder`. Raises OSError and StartError."""
    lock = FolderLock(folder)
    owner = lock.acquire()
    if owner is not None:
        raise StartError(f"Another Hedgerow (process {owner}) already uses the state directory {settings.state}.")
    return lock


def _write_run_files(settings: Settings) -> Settings:
    """Write the files of the run: below the state directory or, if that can't be written, in memory.

    Raises StartError.
    """
    try:
        make_private_folder(settings.run)
        _make_worker_folders(settings)
        settings = _with_identities(settings)
        write_atomically(settings.pass_key, secrets.token_bytes(32))
        settings.save()
    except OSError as error:
        return _write_run_files(_in_memory(settings, error))
    if settings.run_folder is None:
        remove_memory_folder(settings.state)
    with contextlib.suppress(OSError):  # workers are permitted to read a directory only if it is there when they start
        make_private_folder((make_memory_folder(settings.state) / FILE_NAME).parent)
    return settings


def _with_identities(settings: Settings) -> Settings:
    """Give the signer's user the directories that it needs, and note which processes have user ids of their own."""
    settings = replace(settings, has_jobs_identity=not obstacle_of_jobs())
    reason = obstacle(settings.state)
    try:
        arrange_folders(settings, separate=not reason)
    except OSError as error:
        if not reason:
            log.warning("The signer has no user id of its own: %s", error_text(error))
        return replace(settings, has_identities=False)  # a disk that can't be written keeps the modes that it has
    return replace(settings, has_identities=not reason)


def _make_worker_folders(settings: Settings) -> None:
    """Create the directories that confined workers use, and move what an earlier version kept elsewhere.

    Raises OSError.
    """
    lasting = (settings.published, settings.refused) if settings.run_folder is None else ()
    for folder in (*lasting, settings.inspector_sockets, settings.dns_certificate.parent):
        make_private_folder(folder)
    chown_to_owner(settings.state, lasting)
    for place in (settings.state / FILE_NAME, settings.pass_through):
        before = settings.state / place.name
        if before.is_file() and not place.exists():
            before.rename(place)


def _in_memory(settings: Settings, error: OSError) -> Settings:
    """Return the settings with the files of the run in memory.

    Raises StartError if the disk is not to blame for `error`.
    """
    reason = f"Can't write to the state directory {settings.state}: {error.strerror}."
    if not is_disk_error(error) or settings.run_folder is not None:
        raise StartError(f"{reason} Choose another with --state DIR.") from None
    try:
        folder = make_memory_folder(settings.state)
    except OSError as worse:
        raise StartError(f"{reason} Its place can't be taken by memory: {error_text(worse)}.") from None
    log.error("%s Filtering goes on with the last snapshot, and nothing can be saved.", reason)
    return replace(settings, run_folder=folder, problem=reason)


def open_sockets(settings: Settings, kept: KeptSockets = NOTHING_KEPT) -> dict[str, list[socket.socket]]:
    """Open the listening sockets of all processes, unless they are `kept`. Raises StartError."""
    try:
        return open_listeners(settings, kept)
    except OSError as error:
        raise StartError(f"Can't listen: {error_text(error)}.") from None


def prepare_process(state: Path) -> None:
    """Prepare this process to supervise others: limits, privileges, and the adoption of their orphans.

    Raises OSError.
    """
    raise_descriptor_limit()
    if not sys.flags.safe_path:
        del sys.path[0]  # the directory of the command, or the current one
    # more heaps fragment memory, and threads that share one lock don't need them
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    if missing := missing_limits():
        log.warning("This kernel lacks %s: %s", " and ".join(missing), LACKING_TEXT)
    keep_role_capabilities(SUPERVISOR, state)  # the ports are open
    adopt_orphans()
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed already
                os.set_inheritable(number, False)  # what this process inherited itself is for no program that it starts


def claim_endpoint(
    endpoint: Endpoint, purpose: str, kinds: tuple[socket.SocketKind, ...], kept: KeptSockets = NOTHING_KEPT
) -> Endpoint:
    """Check that no other program serves on `endpoint`, and replace port 0 by a free port. Raises StartError.

    Workers share their ports by SO_REUSEPORT, under which a second Hedgerow would silently receive half of the queries.
    The check is therefore made without that option.
    """
    tries = ANY_PORT_TRIES if endpoint.port == 0 else 1
    while True:
        tries -= 1
        try:
            return replace(endpoint, port=_claim_port(endpoint, kinds, kept))
        except OSError as error:
            # A port that is free for one kind of socket may be in use for another.
            if error.errno != errno.EADDRINUSE or tries <= 0:
                raise StartError(_bind_error_text(endpoint, purpose, error)) from None


def _claim_port(endpoint: Endpoint, kinds: tuple[socket.SocketKind, ...], kept: KeptSockets) -> int:
    """Bind every socket that `endpoint` stands for and that is not kept, then close them.

    Returns the port; raises OSError.
    """
    port = endpoint.port
    with contextlib.ExitStack() as sockets:
        for one in endpoint.every_family():
            for kind in kinds:
                if kept.has(one, kind):
                    continue
                port = sockets.enter_context(replace(one, port=port).bind(kind)).getsockname()[1]
    return port


def _bind_error_text(endpoint: Endpoint, purpose: str, error: OSError) -> str:
    option = f"choose another with --{purpose} ADDRESS:PORT"
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {endpoint.port} on {endpoint.host} ({purpose}) is in use by another program: stop that program, or"
            f" {option}."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to use port {endpoint.port} ({purpose}): run as root, or {option} above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {endpoint.host} ({purpose}): {option}."
    return f"Can't listen on {endpoint} ({purpose}): {error.strerror}."


def _refuse_shared_ports(endpoints: dict[str, Endpoint]) -> None:
    """Raise StartError for a port that two parts use: our workers share their ports, so the kernel would allow it."""
    for one, other in shared_ports({name: str(endpoint) for name, endpoint in endpoints.items()}):
        port = endpoints[other].port
        raise StartError(
            f"Port {port} is configured for both {one} and {other}: choose another with --{other} ADDRESS:PORT."
        )


def _is_listened_on(place: Endpoint, settings: Settings) -> bool:
    """Return whether another part of Hedgerow listens where the block page would be served.

    Filtering works without that.
    """
    others = [
        other for name, other in settings.listeners.items() if name != "dns" and socket.SOCK_STREAM in LISTENERS[name]
    ]
    if any(other.port == place.port and other.host in (place.host, *WILDCARD_HOSTS) for other in others):
        log.info(
            "No block page at %s: another part of Hedgerow listens there. Give block_page an address of its own.", place
        )
        return True
    return False


def _is_free_for_page(place: Endpoint, kept: KeptSockets) -> bool:
    """Return whether no other program listens where the block page would be served."""
    try:
        _claim_port(place, (socket.SOCK_STREAM,), kept)
    except OSError as error:
        log.info("No block page at %s: %s. Another server must show one there.", place, error.strerror)
        return False
    return True


def memory_problem(processes: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> str:
    """Return one sentence if the memory does not suffice, else an empty text."""
    limit = _group_limit(processes, groups)
    if limit is not None and limit < MIN_GROUP_BYTES:
        return (
            f"Hedgerow needs {_megabytes(MIN_GROUP_BYTES)} of memory, and its group may use {_megabytes(limit)}: raise"
            " MemoryMax."
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < MIN_ADDRESS_SPACE:
        return (
            f"Each process of Hedgerow needs {_megabytes(MIN_ADDRESS_SPACE)} of address space, and may use"
            f" {_megabytes(soft)}: raise the limit (ulimit -v)."
        )
    return ""


def usable_memory(processes: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the octets of memory that this process and its children may use: the machine's, or fewer."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _group_limit(processes, groups)
    return machine if limit is None else min(machine, limit)


def _group_limit(processes: Path, groups: Path) -> int | None:
    """Return the lowest limit of this process's control groups and those above them; None without one."""
    try:
        lines = processes.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for _number, controllers, place in (line.split(":", 2) for line in lines):
        for controller in {"", "memory"}.intersection(controllers.split(",")):
            folder, name = _ROOTS[controller]
            group = groups / folder / place.lstrip("/")
            limits += [found for each in (group, *group.parents) if (found := _read_limit(each / name)) is not None]
    return min(limits, default=None)


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _megabytes(octets: int) -> str:
    return f"{octets / 1e6:.0f} MB"
