"""Composition of an inspector worker: mitmproxy, with the newest snapshot.

No other process imports it, since mitmproxy would double its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from hedgerow.app.identities import JOBS, find_identity
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.app.workers.proxy_backend import ProxyBackend
from hedgerow.app.workers.worker import Worker
from hedgerow.features import FEATURES
from hedgerow.features.contract import scanners_of
from hedgerow.files import error_text
from hedgerow.proxy.handover import load_handover_key
from hedgerow.proxy.inspection.inspector import DEVICE_LIMIT, Inspector
from hedgerow.proxy.pass_through import CertificateRefusals
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.proxy.scanners.launcher import Launcher, start_child
from hedgerow.sockets import bind_datagrams
from hedgerow.task_state import Area
from hedgerow.ticks import seconds_to_tick

log = logging.getLogger(__name__)

MAX_AGE_S = 24 * 3600.0
_CHECK_INTERVAL_S = 5.0


async def request_successor(
    ask: Callable[[], None], growth: int, is_outdated: Callable[[], bool] = lambda: False
) -> None:
    """Call `ask` once this process is old, has grown by `growth` bytes, is outdated, or gets SIGUSR1.

    This bounds a memory leak of a library without interrupting connections.
    """
    loop, wanted = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, wanted.set)
    deadline, limit = loop.time() + MAX_AGE_S, resident_bytes() + growth
    while not wanted.is_set() and loop.time() < deadline and resident_bytes() < limit and not is_outdated():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wanted.wait(), seconds_to_tick(_CHECK_INTERVAL_S))
    log.info("the inspector asks for a successor at %.0f MB", resident_bytes() / 1e6)
    ask()
    await asyncio.Event().wait()


def is_any_unreadable(files: Iterable[str]) -> bool:
    """Return True if a file can't be read because it was not there, or was another one, when this process
    was confined.
    """
    for file in files:
        try:
            os.close(os.open(file, os.O_RDONLY))
        except PermissionError:
            if os.access(file, os.R_OK):  # permissions are as they were before the confinement
                return True
        except OSError:
            continue
    return False


def resident_bytes() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def with_scanners(policy: ProxyPolicy, view: LoadedSnapshot) -> ProxyPolicy:
    """Return the policy of the proxy with the scanners of the features that a snapshot uses."""
    return replace(policy, scoring=scanners_of(FEATURES, view.policy))


def start_launcher() -> Launcher | None:
    """Start the process that gives others the user id of jobs; None without such a user or anything to judge."""
    identity = find_identity(JOBS)
    has_judges = any(load() is not None for feature in FEATURES for load in feature.scanners.values())
    try:
        return Launcher(identity.uid, identity.gid) if identity is not None and has_judges else None
    except OSError as error:
        log.warning("The processes that judge pictures have no user id of their own: %s", error_text(error))
        return None


@contextlib.asynccontextmanager
async def serve_inspector(worker: Worker, launcher: Launcher | None = None) -> AsyncIterator[Inspector]:
    """Run the inspector on its socket. With a launcher, what judges pictures runs under its user id."""
    settings = worker.settings
    backend = ProxyBackend(worker)
    inspector = Inspector(
        with_scanners(backend.proxy_policy(worker.view), worker.view),
        load_handover_key(settings.pass_key),
        settings.signer_socket,
        upstream_ca=settings.upstream_ca,
        refusals=CertificateRefusals(settings.pass_through),
        start_program=launcher.start if launcher is not None else start_child,
        device_limit=-(-DEVICE_LIMIT // settings.inspectors),
    )
    worker.on_swap = lambda view: inspector.swap(with_scanners(backend.swap(view), view))
    worker.counters = lambda: backend.counters(inspector.counters)
    listening = asyncio.Event()
    listener = worker.sockets.take_local() or bind_datagrams(settings.inspector_socket(worker.index))
    run = partial(inspector.run, listener, listening.set)
    worker.tasks.start("inspection", run, Area.RULES, may_end=True, ends_process=True)
    await listening.wait()
    try:
        yield inspector
    finally:
        inspector.stop()
        await worker.tasks.stop("inspection")
        if launcher is not None:
            launcher.close()
        await backend.upstreams.pool.close()
