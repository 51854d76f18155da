"""Connections to PostgreSQL: TLS, the password, bounded waiting, what an error means, and notifications of changes.

A server that does not answer must not hold up control. Once a connection has failed, all others are refused at once,
until a thread has found out that the server is back. Nothing relies on the state of a connection, since PgBouncer may
give each transaction another one.
"""

from __future__ import annotations

import select
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus, PGconn
from psycopg.types.string import StrDumper
from sqlalchemy.exc import InvalidatePoolError

from hedgerow.journal.lanes import Lane, LaneFullError, current_lane
from hedgerow.journal.postgresql_schema import CHANNEL
from hedgerow.journal.store import JournalError, StoreAddress, UnreachableStoreError
from hedgerow.policies.text.addresses import is_local_host

CONNECT_TIMEOUT_S = 4
PATIENCE_S: Final = {Lane.PAGES: 2.0, Lane.OWN: 10.0}
"""Seconds for which a query of each lane waits for a sign of life of the server. People at a page or a command wait for
it; control's own work can be done later.
"""
PROBE_INTERVAL_S = 1.0
"""Seconds between attempts while the server is away."""

_DEFAULTS = {
    "application_name": "hedgerow",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    # A server or a network that vanishes is noticed within about ten seconds.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_SERVER_TIMEOUTS = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout ="
    " 10000"
)
"""The same for the server.

By its own defaults, the transaction of a node that vanished keeps its locks for two hours.
"""
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PASSING_CLASSES = ("08", "25", "28", "40", "42", "53", "55", "57", "58", "XX")
"""Classes of errors (SQLSTATE) that may pass: connection, read-only, sign-in, deadlock, rights, full disk, lock,
shutdown, system.
"""


class Connector:
    """A factory of connections to the server at `address`. It refuses at once while the server is known to be away."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._problem = ""

    def connect(self) -> Any:
        """Return a new connection. Raises psycopg.OperationalError."""
        with self._lock:
            if self._problem:
                raise psycopg.OperationalError(self._problem)
        try:
            return self._open()
        except psycopg.OperationalError as error:
            self._note_failure(error)
            raise

    def check(self, connection: Any) -> None:
        """Make sure that the server answers on an idle connection.

        Raises InvalidatePoolError if it does not: a server that said nothing then counts as away.
        """
        patience = PATIENCE_S[current_lane.get()]
        try:
            answers = _answers(connection.pgconn, patience)
        except psycopg.OperationalError as error:  # such as after the server's restart: the next connection may work
            raise InvalidatePoolError from error
        if not answers:
            self._note_failure(psycopg.OperationalError(f"the server has not answered for {patience:.0f} seconds"))
            raise InvalidatePoolError

    def _open(self) -> Any:
        try:
            parameters = connection_parameters(self._address)
        except (OSError, psycopg.ProgrammingError) as error:
            raise psycopg.OperationalError(str(error)) from error
        connection = psycopg.connect("", prepare_threshold=None, autocommit=True, **parameters)
        connection.execute(_SERVER_TIMEOUTS)
        connection.autocommit = False
        connection.adapters.register_dumper(str, _TextDumper)
        return connection

    def _note_failure(self, error: psycopg.OperationalError) -> None:
        with self._lock:
            if not self._problem:
                threading.Thread(target=self._wait_for_server, name="store", daemon=True).start()
            self._problem = str(error)

    def _wait_for_server(self) -> None:
        while True:
            time.sleep(PROBE_INTERVAL_S)
            try:
                self._open().close()
            except psycopg.OperationalError as error:
                with self._lock:
                    self._problem = str(error)
            else:
                with self._lock:
                    self._problem = ""
                return


def _answers(connection: PGconn, seconds: float) -> bool:
    """Return False if no answer comes in time to a query that does nothing.

    Raises psycopg.OperationalError if the server has refused it, such as with its last message before it ended.
    """
    until = time.monotonic() + seconds
    poll = select.poll()  # `select.select` takes no descriptor above 1,023
    poll.register(connection.socket, select.POLLIN)
    connection.send_query(b"SELECT 1")
    while True:
        while connection.flush() or connection.is_busy():
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return False
            connection.consume_input()
        result = connection.get_result()
        if result is None:
            return True
        if result.status != ExecStatus.TUPLES_OK:
            raise psycopg.OperationalError(result.get_error_message() or "the server has ended the connection")


class _TextDumper(StrDumper):  # type: ignore[misc]
    """Text without the character NUL, which PostgreSQL cannot store."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)


def connection_parameters(address: StoreAddress) -> dict[str, Any]:
    """Return libpq's parameters for an address. Raises OSError if the file with the password can't be read."""
    given: dict[str, Any] = dict(conninfo_to_dict(address.url.replace("postgresql+psycopg:", "postgresql:", 1)))
    parameters = _DEFAULTS | given
    if "sslmode" not in given and not all(map(is_local_host, str(given.get("host") or "").split(","))):
        parameters["sslmode"] = "verify-full"
    if (
        parameters.get("sslmode", "").startswith("verify-")
        and "sslrootcert" not in given
        and (bundle := _system_authorities())
    ):
        parameters["sslrootcert"] = bundle
    if address.password_file is not None and address.password_file.exists():
        parameters["password"] = address.password_file.read_text(encoding="utf-8").strip("\r\n")
    return parameters


def _system_authorities() -> str:
    """Return the file of the certificate authorities that this system trusts; empty if none is found."""
    files = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((file for file in files if file and Path(file).exists()), "")


def may_pass(error: BaseException) -> bool:
    """Return True if the same statement may succeed later.

    Such as after a server that was away, stopped, full or read-only, a right that was missing, or connections that were
    all in use.
    """
    original = getattr(error, "orig", None) or error
    if isinstance(original, LaneFullError):
        return True
    if not isinstance(original, psycopg.Error):
        return False
    state = original.sqlstate
    if state is None:
        return isinstance(original, psycopg.OperationalError | psycopg.InterfaceError)
    return str(state).startswith(_PASSING_CLASSES)


def open_error(error: Exception, address: StoreAddress) -> JournalError:
    """Return an error whose message says why the store at an address can't be opened, and what to do about it."""
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).split())
    start = f"cannot open the store {address}"
    if isinstance(original, psycopg.Error) and original.sqlstate is None:
        return UnreachableStoreError(f"{start}: {text}{_advice(text, address)}")
    if isinstance(original, psycopg.errors.InsufficientPrivilege):
        return JournalError(f"{start}: {text}; make the role the owner of the database: ALTER DATABASE … OWNER TO …")
    kind = UnreachableStoreError if may_pass(error) else JournalError
    return kind(f"{start}: {text}")


def _advice(text: str, address: StoreAddress) -> str:
    """Return what to do about a failed connection, after a semicolon; empty if there is nothing special."""
    if "password" in text:
        return f"; the password is read from {address.password_file or 'no file'}, else from ~/.pgpass or PGPASSWORD"
    if "does not match host name" in text:
        return "; write the name of the certificate into the URL of the store"
    if "certificate verify failed" in text or "root certificate" in text:
        return (
            "; name the file of the authority that issued the server's certificate:"
            " ?sslrootcert=/etc/hedgerow/store-ca.pem"
        )
    if "does not support SSL" in text:
        return (
            "; turn TLS on at the server (ssl = on), since the password and all that is recorded would cross the"
            " network unencrypted"
        )
    return ""


_QUERY = "SELECT coalesce(sum(number), 0) FROM site_changes WHERE site = %s OR site LIKE '@%%'"


class ChangeListener:
    """A listener for changes that other nodes make to one site. `wait` is called by one thread at a time.

    PgBouncer passes no notifications on when it pools by transaction. The count of changes is read after each wait,
    whatever was heard.
    """

    def __init__(self, connector: Connector, site: str) -> None:
        self._connector, self._site = connector, site
        self._connection: Any = None
        self._known: int | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most this long.

        Returns True if there was one, or if the server has just begun to answer.
        """
        try:
            if self._connection is None:
                self._connection = connection = self._connector.connect()
                connection.autocommit = True
                for name in (self._site, "@"):  # its own changes, and those of the levels above all sites
                    channel = connection.execute(f"SELECT {CHANNEL.format(site='%s')}", (name,)).fetchone()[0]
                    connection.execute(f"LISTEN {channel}")
            else:
                for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                    pass
            known, self._known = self._known, int(self._connection.execute(_QUERY, (self._site,)).fetchone()[0])
            return known != self._known
        except psycopg.Error:
            self.close()
            time.sleep(seconds)
            return False

    def fileno(self) -> int:
        """Return the descriptor that is readable after a change, for one that waits for many listeners.

        Call `wait` before.
        """
        return int(self._connection.fileno())

    def close(self) -> None:
        """Close the connection. The next `wait` opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._known = None, None
