"""The signer: the process that holds the CA's key for the inspectors (`python -m hedgerow.app.signer signer 0 STATE`).

It imports almost nothing and meets no stranger's bytes but host names. Of the state directory it reads the CA and the
name of our own pages. Where root starts Hedgerow, it can have a user id of its own (`app/identities.py`). When control
replaces the CA, it uses the new one at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hedgerow.app.ipc import HEARTBEAT, HEARTBEAT_INTERVAL_S, PROBLEM, READY
from hedgerow.app.logs import start_logs
from hedgerow.app.privileges import confine_signer
from hedgerow.app.settings import Settings
from hedgerow.confinement import forbid_inspection, name_process
from hedgerow.files import error_text
from hedgerow.network.own_addresses import OwnAddresses
from hedgerow.proxy.certificate_authority import CertificateAuthority, CertificateAuthorityError, load_ca
from hedgerow.proxy.signing import MAX_CLIENTS, Signer
from hedgerow.sockets import SocketPath, bind_unix_socket
from hedgerow.task_state import describe

log = logging.getLogger("hedgerow.signer")

PAGES_NAME = "hedgerow.internal"
CHECK_INTERVAL_S = 1.0


class FollowedFile[T]:
    """The content of a file, loaded again when the file has been replaced. If that fails, the last content stays.

    It looks at the file at most once in `interval` seconds.
    """

    def __init__(self, path: Path, load: Callable[[], T], first: T, interval: float = CHECK_INTERVAL_S) -> None:
        self._path, self._load, self._content, self._interval = path, load, first, interval
        self._identity: tuple[int, int, int] | None = None
        self._due = 0.0

    def __call__(self) -> T:
        if (now := time.monotonic()) >= self._due:
            self._due = now + self._interval
            with contextlib.suppress(OSError):
                status = self._path.stat()
                identity = (status.st_ino, status.st_mtime_ns, status.st_size)
                if identity != self._identity:
                    self._identity = identity
                    self._reload()
        return self._content

    def _reload(self) -> None:
        try:
            self._content = self._load()
        except (OSError, ValueError, CertificateAuthorityError) as error:
            log.error("Can't use %s, the last one stays in use: %s", self._path, error_text(error))


class ReservedHosts:
    """The hosts of our own pages: an inspector that was taken over must not impersonate them."""

    def __init__(self, settings: Settings) -> None:
        file = settings.server_name
        self._server_name = FollowedFile(file, lambda: file.read_text(encoding="utf-8"), "")
        self._addresses = OwnAddresses()
        name = socket.gethostname().lower().partition(".")[0]
        self._names = {"localhost", name, f"{name}.local", PAGES_NAME}

    def __call__(self, host: str) -> bool:
        return host in self._names or host == self._server_name() or host in self._addresses()


def run(settings: Settings) -> None:
    """Serve until standard input closes, or the socket's path is removed.

    Raises OSError and CertificateAuthorityError.
    """
    # Looked at for each certificate: an inspector keeps what it gets, also in the first second after the authority was
    # replaced.
    authority: FollowedFile[CertificateAuthority] = FollowedFile(
        settings.authority / "hedgerow-ca.pem",
        lambda: load_ca(settings.authority),
        load_ca(settings.authority),
        interval=0.0,
    )
    listener = bind_unix_socket(settings.signer_socket, socket.SOCK_SEQPACKET, MAX_CLIENTS)
    place = SocketPath.of(settings.signer_socket)
    confine_signer(settings)
    forbid_inspection()
    signer = Signer(listener, authority, ReservedHosts(settings))
    signer.selector.register(0, selectors.EVENT_READ)
    _write(READY)
    due = time.monotonic()
    while not signer.serve(max(0.0, due - time.monotonic())):
        if time.monotonic() >= due:
            if not place.is_in_place:  # a confined process can't bind it again
                log.error("%s was removed or replaced: this process ends, and its successor makes it again", place.path)
                return
            _write(HEARTBEAT)
            due = time.monotonic() + HEARTBEAT_INTERVAL_S


def _write(message: bytes) -> None:
    with contextlib.suppress(BlockingIOError):  # never wait for a supervisor that does not read
        os.write(1, message)


def run_signer(state: Path) -> None:
    """Serve as the signer of the run on a state directory. Raises SystemExit if that is impossible."""
    settings = Settings.load(state)
    os.umask(0o077)
    start_logs("signer", settings.log_level, settings.log_json)
    os.set_blocking(1, False)
    try:
        run(settings)
    except (OSError, CertificateAuthorityError) as error:
        text = f"can't use the certificate authority: {error_text(error)}"
        log.error("can't serve: %s", text)
        with contextlib.suppress(OSError):
            _write(PROBLEM + text[:500].encode() + b"\n")
        sys.exit(1)
    except Exception as error:
        log.error("This process ends by an error: %s", describe(error))
        log.debug("This process ends by an error", exc_info=error)
        sys.exit(1)


if __name__ == "__main__":
    name_process("signer")
    run_signer(Path(sys.argv[3]))
