"""A PostgreSQL server for tests:

Debian's binaries, a directory of its own, a Unix socket and a port on loopback, no fsync.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hedgerow.journal.store import StoreAddress

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "wal_recycle": "off",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "log_min_messages": "fatal",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


def binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresServer:
    """A server with the role `hedgerow`, which owns the databases that `database` makes."""

    def __init__(
        self, folder: Path, programs: Path, settings: Mapping[str, str] | None = None, *, space: str = ""
    ) -> None:
        """With `space`, the server runs in this network namespace, which needs root."""
        self.folder, self._programs = folder, programs
        self._settings = _SETTINGS | dict(settings or {})
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.user = _user()
        entered = (
            "nsenter",
            f"--net=/run/netns/{space}",
            "setpriv",
            f"--reuid={self.user}",
            "--clear-groups",
            "env",
            f"HOME={folder}",
        )
        self._entered = entered if space else ()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def create(self) -> None:
        """Make the directory of the data."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        self.folder.chmod(0o755)
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        subprocess.run(["cp", "-a", str(_empty_data(self._programs, self.user)), str(self.folder / "data")], check=True)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        words: list[str | Path] = [
            self._programs / "postgres",
            "-D",
            self.folder / "data",
            "-p",
            str(self.port),
            "-k",
            self.folder,
            *settings,
        ]
        with (self.folder / "log").open("ab") as log:
            user = None if self._entered else self.user
            self._process = subprocess.Popen(
                [*self._entered, *words], stdout=log, stderr=log, user=user, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # nothing tells that it answers
            else:
                return

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """End the server: at once, as a crash does, by default."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def address(self, database: str, role: str = "hedgerow", query: str = "") -> StoreAddress:
        """Return the address of a database over loopback."""
        return StoreAddress(f"postgresql://{role}@127.0.0.1:{self.port}/{database}{query}")

    def database(self) -> str:
        """Make a database of the role `hedgerow`, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} OWNER hedgerow STRATEGY file_copy")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def reload(self) -> None:
        """Have the server read its configuration, and wait until it has."""
        before = self.execute("SELECT pg_conf_load_time()")
        self.execute("SELECT pg_reload_conf()")
        while self.execute("SELECT pg_conf_load_time()") == before:
            time.sleep(0.02)  # each connection learns it by itself

    def execute(self, statement: str, database: str = "postgres") -> Sequence[tuple[Any, ...]]:
        """Execute a statement as the superuser, outside a transaction. Returns its rows."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, dbname=database, user="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else ()


@functools.cache
def _empty_data(programs: Path, user: str | None) -> Path:
    """Return the data of a server without databases. It is copied, since `initdb` takes a second of CPU time."""
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if user is not None:
        shutil.chown(folder, user)
    words: list[str | Path] = [
        programs / "initdb",
        "--pgdata",
        folder / "data",
        "--username",
        "postgres",
        "--auth",
        "trust",
        "--no-sync",
    ]
    words += ["--no-instructions", "--encoding", "UTF8", "--locale", "C.UTF-8"]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(words, check=True, user=user, stdout=subprocess.DEVNULL, env=environment, cwd="/")
    return folder / "data"


def _user() -> str | None:
    """The user to run the server as: it refuses root."""
    if os.geteuid() != 0:
        return None
    return next(name for name in ("postgres", "nobody") if any(each.pw_name == name for each in pwd.getpwall()))


@contextlib.contextmanager
def running_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a server in a new directory. Skips the test where PostgreSQL is missing."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    # pytest's own directories are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-pg-"))
    server = PostgresServer(folder, programs, settings)
    try:
        server.create()
        server.start()
        server.execute("CREATE ROLE hedgerow LOGIN")
        yield server
    finally:
        server.stop(signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)
