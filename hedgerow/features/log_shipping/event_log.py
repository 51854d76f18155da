"""Decisions, requests and events as lines of JSON for collectors: in files, on syslog servers, or posted to a URL.

Only what the journal stores is sent: each person's privacy has been applied, and visits to lifelines are left out.
Filtering and the journal never wait for a collector. While it is away, a bounded number of lines waits. The oldest
beyond that are lost, and counted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import os
import secrets
import socket
import ssl
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path

import msgspec

from hedgerow.blocklists.outgoing_guard import OutgoingGuard, RefusedError
from hedgerow.dashboards.metrics import Metrics
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.log_shipping.metrics import LOST, WAITING
from hedgerow.features.log_shipping.settings import LogShipping, LogTarget, is_log_name
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.recorder import RecordedMessage
from hedgerow.policies.model import AccessRequest, Observation
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LINES_LIMIT = 50_000
"""Lines that wait for one collector."""

SPARE_BYTES = 64 * 1024 * 1024
"""Bytes of its disk that a file leaves free: the journal and the lists may be on it too."""

_INTERVAL_S = 1.0
_RETRY_S = 10.0
_TIMEOUT_S, _LAST_FLUSH_S = 5.0, 0.5
_BATCH = 2000  # lines
_KEY_PREFIX = "whsec_"  # as Standard Webhooks writes keys, in Base64
_PRIORITY = 16 * 8 + 6  # facility local0, severity informational (RFC 5424, section 6.2.1)


def line_of(message: RecordedMessage) -> bytes:
    """Return a message as a JSON object in one line: `time` (RFC 3339), `type`, and its fields that are not empty."""
    kinds = {Observation: "decision", AccessRequest: "request"}
    found = msgspec.to_builtins(message)
    when = datetime.fromtimestamp(found.pop("when"), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found.pop("about", None)
    given = {name: value for name, value in found.items() if value not in ("", None)}
    return msgspec.json.encode({"time": when, "type": kinds.get(type(message), "event"), **given})


class LogFile:
    """A file of the directory of logs, to which lines are appended.

    It is opened anew for each batch, so that logrotate may rename it. A policy can't choose another directory: a
    name with a path in it is refused, and a link is not followed. Nobody but logrotate shortens it, so it leaves
    `spare` bytes of its disk free.
    """

    def __init__(self, folder: Path, name: str, spare: int = SPARE_BYTES) -> None:
        self._folder, self._name, self._spare = folder, name, spare
        self._path = folder / name

    def write(self, lines: Sequence[bytes]) -> None:
        file = self._open()
        try:
            before = os.fstat(file)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(f"{self._path} is not a file")
            data = b"".join(line + b"\n" for line in lines)
            disk = os.fstatvfs(file)
            if disk.f_bavail * disk.f_frsize < self._spare + len(data):
                raise OSError(f"{self._path} can't be written: the disk is nearly full")
            if os.write(file, data) < len(data):
                os.ftruncate(file, before.st_size)  # half a line would spoil the next
                raise OSError(f"{self._path} can't be written: the disk is full")
        finally:
            os.close(file)

    def close(self) -> None:
        pass

    def _open(self) -> int:
        if not is_log_name(self._name):  # from the policy of an earlier version
            raise OSError(f"files of `log_to` are in {self._folder}, and this is not the name of one")
        self._folder.mkdir(mode=0o750, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.open(self._name, flags, 0o640, dir_fd=folder)
        finally:
            os.close(folder)


class SyslogServer:
    """A syslog server (RFC 5424). Messages follow their lengths, over TCP (RFC 6587) or TLS (RFC 5425)."""

    def __init__(self, target: LogTarget) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self._head = f"{socket.gethostname() or '-'} hedgerow {os.getpid()} - - ".encode()

    def write(self, lines: Sequence[bytes]) -> None:
        if self._socket is not None and not _is_open(self._socket):
            self.close()
        connected = self._socket = self._socket or self._connect()
        when = datetime.now(UTC).isoformat(timespec="milliseconds").encode()
        messages = [b"<%d>1 %b %b%b" % (_PRIORITY, when, self._head, line) for line in lines]
        try:
            connected.sendall(b"".join(b"%d %b" % (len(message), message) for message in messages))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._target.host, self._target.port), _TIMEOUT_S)
        if not self._target.is_encrypted:
            return plain
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=self._target.host)
        except BaseException:
            plain.close()
            raise


def _is_open(connected: socket.socket) -> bool:
    """Return False if the other side has hung up. A syslog server sends nothing, but for the messages of TLS."""
    connected.setblocking(False)
    try:
        return bool(connected.recv(4096))
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    finally:
        connected.settimeout(_TIMEOUT_S)


class Webhook:
    """A server that takes lines by POST, each request signed as Standard Webhooks specifies (HMAC-SHA256).

    A request that is repeated has the same identifier, by which the receiver knows it. `local` returns the policy's own
    names and networks.
    """

    def __init__(self, target: LogTarget, key_file: Path, local: Callable[[], Collection[str]] = tuple) -> None:
        self._target, self._key_file, self._local = target, key_file, local

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The authorities: reading them takes many times as long as a request."""
        return ssl.create_default_context()

    def write(self, lines: Sequence[bytes]) -> None:
        from hedgerow.blocklists.outgoing import open_url  # few policies have a webhook

        body = b"".join(line + b"\n" for line in lines)
        identifier, stamp = f"msg_{sha256(body).hexdigest()[:32]}", str(int(time.time()))
        signature = hmac.digest(_webhook_key(self._key_file), f"{identifier}.{stamp}.".encode() + body, "sha256")
        headers = {
            "Content-Type": "application/x-ndjson",
            "Webhook-Id": identifier,
            "Webhook-Timestamp": stamp,
            "Webhook-Signature": f"v1,{base64.b64encode(signature).decode()}",
        }
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        url = f"https://{host}:{self._target.port}{self._target.path}"
        try:
            guard = OutgoingGuard(local=self._local())
            with open_url(
                url, _TIMEOUT_S, guard, headers=headers, body=body, redirects=0, trust=self._trust
            ) as response:
                status = response.status_code
        except RefusedError as error:
            raise OSError(str(error)) from None
        if not 200 <= status < 300:
            raise OSError(f"{self._target} answers {status}")

    def close(self) -> None:
        pass


def _webhook_key(file: Path) -> bytes:
    """Read the key of signatures, or make it. Raises OSError."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        text = _KEY_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        write_atomically(file, f"{text}\n".encode())
    try:
        return base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
    except ValueError:
        raise OSError(f"{file} contains no key: {_KEY_PREFIX} and its octets in Base64") from None


class _Collector:
    """The lines that wait for one target, and the state of its output."""

    def __init__(
        self, target: LogTarget, folder: Path, webhook_key: Path, local: Callable[[], Collection[str]]
    ) -> None:
        self.target = target
        self.lines = deque[bytes]()
        self.output: LogFile | SyslogServer | Webhook
        if target.file:
            self.output = LogFile(folder, target.file)
        else:
            self.output = Webhook(target, webhook_key, local) if target.path else SyslogServer(target)
        self.problem = ""
        self.retry_at = 0.0
        self.failed = 0
        """Lines in the batch that was refused last: it is sent again as it was."""

    def add(self, lines: Iterable[bytes]) -> int:
        """Add lines and return the number of older ones that were dropped."""
        self.lines.extend(lines)
        excess = max(0, len(self.lines) - LINES_LIMIT)
        for _ in range(excess):
            self.lines.popleft()
        return excess

    def flush(self) -> None:
        """Write the waiting lines in batches. Blocks within the timeout of a connection."""
        now = time.monotonic()
        while self.lines and now >= self.retry_at:
            batch = list(islice(self.lines, self.failed or _BATCH))
            try:
                self.output.write(batch)
            except OSError as error:
                if not self.problem:
                    log.warning("Can't write the log of events to %s: %s", self.target, error_text(error))
                self.problem, self.retry_at, self.failed = error_text(error), now + _RETRY_S, len(batch)
                return
            self.failed = 0
            for _ in batch:
                self.lines.popleft()
            if self.problem:
                log.info("the log of events is written to %s again", self.target)
                self.problem = ""


class EventLog:
    """Copies of recorded messages for the targets of the policy in force. `add` may be called from any thread."""

    def __init__(
        self,
        targets: Callable[[], Sequence[LogTarget]],
        *,
        metrics: Metrics,
        folder: Path,
        webhook_key: Path,
        local: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`folder` is the directory of files, and `webhook_key` the file of the key that signs requests to webhooks.

        Both are made when they are needed. `local` returns the policy's own names and networks.
        """
        self._local = local
        self._targets, self._metrics, self._folder, self._webhook_key = targets, metrics, folder, webhook_key
        self._added = deque[RecordedMessage](maxlen=LINES_LIMIT)
        self._collectors: dict[LogTarget, _Collector] = {}
        self._writing = threading.Lock()

    def add(self, messages: Iterable[RecordedMessage]) -> None:
        """Take messages, if anybody wants them."""
        if self._targets():
            self._added.extend(messages)

    async def run(self) -> None:
        """Write once a second, until cancelled."""
        while True:
            await next_tick(_INTERVAL_S)
            await asyncio.to_thread(self.flush)

    async def close(self) -> None:
        """Write as much as possible without a long wait."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.flush), _LAST_FLUSH_S)
        for collector in self._collectors.values():
            collector.output.close()

    def flush(self) -> None:
        """Write the waiting lines to each target of the policy. Never raises for a target's problems."""
        if not self._writing.acquire(blocking=False):
            return  # a thread still waits for a collector
        try:
            self._flush()
        finally:
            self._writing.release()

    def _flush(self) -> None:
        targets = self._targets()
        for target in [each for each in self._collectors if each not in targets]:
            self._collectors.pop(target).output.close()
        lines = [line_of(self._added.popleft()) for _ in range(len(self._added))]
        for target in targets:
            collector = self._collectors.get(target)
            if collector is None:
                collector = self._collectors[target] = _Collector(target, self._folder, self._webhook_key, self._local)
            lost = collector.add(lines)
            if lost:
                self._metrics.add(LOST, (), lost)
            collector.flush()
        self._metrics.set(WAITING, (), sum(len(each.lines) for each in self._collectors.values()))


def event_log_service(core: Core) -> ControlService:
    """Return the service that writes what is recorded to the places of the policy in force."""

    def targets() -> Sequence[LogTarget]:
        settings = core.snapshots.policy.settings(LogShipping)
        return settings.targets if settings is not None else ()

    key = core.settings.state / "webhook-key"
    event_log = EventLog(
        targets,
        metrics=core.metrics,
        folder=core.settings.logs,
        webhook_key=key,
        local=lambda: core.snapshots.policy.network.own_places,
    )
    return ControlService(
        name="event log", area=Area.LOG, run=event_log.run, copies=event_log.add, close=event_log.close
    )
