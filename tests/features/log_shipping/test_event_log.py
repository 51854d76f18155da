"""Lines of JSON for collectors: files that move, full disks, servers that are late, untrusted or away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import wait
from pathlib import Path
from typing import BinaryIO

import pytest
from small_internet.authority import Authority, server_context

from hedgerow.dashboards.metrics import Metrics
from hedgerow.features.log_shipping import event_log
from hedgerow.features.log_shipping.event_log import EventLog, LogFile, SyslogServer, line_of
from hedgerow.features.log_shipping.metrics import METRICS
from hedgerow.features.log_shipping.settings import LogTarget, parse_log_target
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict


def event(number: int) -> SystemEvent:
    return SystemEvent(1_800_000_000.0, "restart", f"dns-{number}")


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


type Start = Callable[..., EventLog]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that makes a log to a target, which is closed at the end."""
    logs: list[EventLog] = []

    def make(target: LogTarget, metrics: Metrics | None = None, folder: Path = tmp_path) -> EventLog:
        shown = metrics or Metrics(*METRICS)
        logs.append(EventLog(lambda: (target,), metrics=shown, folder=folder, webhook_key=tmp_path / "webhook-key"))
        return logs[-1]

    yield make
    for log in logs:
        asyncio.run(log.close())


def text_of(metrics: Metrics) -> str:
    return metrics.exposition()[0].decode()


class SyslogCollector:
    """A syslog server over TCP or TLS that keeps the messages it got."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.messages: list[str] = []
        self._context = context
        self._connected: list[socket.socket] = []
        self._came = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            if self._context:
                try:
                    connection = self._context.wrap_socket(connection, server_side=True)
                except OSError:
                    connection.close()
                    continue
            self._connected.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            self._read_all(stream)

    def _read_all(self, stream: BinaryIO) -> None:
        while length := b"".join(iter(lambda: stream.read(1).strip(), b"")):
            with self._came:
                self.messages.append(stream.read(int(length)).decode())
                self._came.notify_all()

    def wait_for(self, number: int) -> list[str]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.messages) >= number, 20)
            return self.messages

    def hang_up(self) -> None:
        for connection in self._connected:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()


@pytest.fixture
def collector() -> Iterator[SyslogCollector]:
    collector = SyslogCollector()
    yield collector
    collector.close()


def test_a_decision_is_one_line_without_what_is_empty() -> None:
    seen = Observation(
        1_800_000_000.25,
        DeviceId("tablet"),
        "mia",
        "child-8-12",
        RequestKind.DNS,
        Verdict.BLOCK,
        Reason.CATEGORY,
        "adult",
        "a.example",
    )
    line = line_of(seen)
    assert b"\n" not in line
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "type": "decision",
        "device": "tablet",
        "person": "mia",
        "profile": "child-8-12",
        "kind": "dns",
        "verdict": "block",
        "reason": "category",
        "what": "adult",
        "host": "a.example",
        "count": 1,
        "version": 0,
    }


def test_requests_and_events_say_what_they_are() -> None:
    asked = AccessRequest(1_800_000_000.0, DeviceId("tablet"), "mia", "a.example", note="two\nlines")
    assert [json.loads(line_of(each))["type"] for each in (asked, event(1))] == ["request", "event"]
    assert b"\n" not in line_of(asked)


def test_a_file_gets_lines_that_only_its_group_reads_and_may_be_renamed(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "events.jsonl"
    log = start(LogTarget(file=file.name))
    log.add([event(1), event(2)])
    log.flush()
    file.rename(tmp_path / "events.jsonl.1")
    log.add([event(3)])
    log.flush()
    assert [row["subject"] for row in read(tmp_path / "events.jsonl.1")] == ["dns-1", "dns-2"]
    assert [row["subject"] for row in read(file)] == ["dns-3"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o137 == 0


@pytest.mark.parametrize(
    "name", ["{}", "../start-file", ".start-file", "link", "folder/link", "link-to-folder/start-file"]
)
def test_no_file_outside_the_directory_of_logs_is_written(tmp_path: Path, start: Start, name: str) -> None:
    shell, folder = tmp_path / "start-file", tmp_path / "logs"
    shell.write_text("# my shell\n")
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(shell)
    (folder / "folder" / "link").symlink_to(shell)
    (folder / "link-to-folder").symlink_to(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    metrics = Metrics(*METRICS)
    log = start(LogTarget(file=name.format(shell)), metrics, folder)
    log.add([SystemEvent(1_800_000_000.0, "restart", "$(touch PWNED)")])
    log.flush()
    assert shell.read_text() == "# my shell\n"
    assert sorted(tmp_path.rglob("*")) == before
    assert "hedgerow_event_log_waiting 1.0" in text_of(metrics)


def test_lines_wait_until_the_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.setattr(event_log, "_RETRY_S", 0.0)
    metrics, folder = Metrics(*METRICS), tmp_path / "later" / "logs"
    log = start(LogTarget(file="log"), metrics, folder)
    log.add([event(1)])
    log.flush()
    assert "hedgerow_event_log_waiting 1.0" in text_of(metrics)
    folder.parent.mkdir()
    log.flush()
    assert [row["subject"] for row in read(folder / "log")] == ["dns-1"]
    assert "hedgerow_event_log_waiting 0.0" in text_of(metrics)


def test_the_oldest_lines_are_lost_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.setattr(event_log, "LINES_LIMIT", 10)
    monkeypatch.setattr(event_log, "_RETRY_S", 0.0)
    metrics, folder = Metrics(*METRICS), tmp_path / "later" / "logs"
    log = start(LogTarget(file="log"), metrics, folder)
    for number in range(14):
        log.add([event(number)])
        log.flush()
    folder.parent.mkdir()
    log.flush()
    assert [row["subject"] for row in read(folder / "log")] == [f"dns-{number}" for number in range(4, 14)]
    assert "hedgerow_event_log_lost_total 4.0" in text_of(metrics)


def test_half_a_line_is_taken_back_on_a_full_disk(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = LogFile(tmp_path, file.name)
    log.write([b"first"])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        with pytest.raises(OSError, match="can't be written"):
            log.write([b"second"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == b"first\n"


def test_a_file_does_not_fill_the_disk_of_the_journal(tmp_path: Path) -> None:
    LogFile(tmp_path, "log").write([b"first"])
    with pytest.raises(OSError, match="nearly full"):
        LogFile(tmp_path, "log", spare=1 << 60).write([b"second"])
    assert (tmp_path / "log").read_bytes() == b"first\n"


def test_links_and_pipes_are_no_files(tmp_path: Path) -> None:
    import os

    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=name):
            LogFile(tmp_path, name).write([b"line"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_syslog_server_gets_whole_messages(collector: SyslogCollector, start: Start) -> None:
    log = start(LogTarget(host="127.0.0.1", port=collector.port))
    log.add([event(1), event(2)])
    log.flush()
    first, second = collector.wait_for(2)
    head, _, body = first.partition("{")
    assert head.startswith("<134>1 20")
    assert head.split()[3] == "hedgerow"
    assert (json.loads("{" + body)["subject"], second.endswith("}")) == ("dns-1", True)


def test_a_syslog_server_that_hung_up_is_called_again(
    collector: SyslogCollector, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.setattr(event_log, "_RETRY_S", 0.0)
    log = start(LogTarget(host="127.0.0.1", port=collector.port))
    log.add([event(1)])
    log.flush()
    collector.wait_for(1)
    collector.hang_up()
    output = log._collectors[next(iter(log._collectors))].output
    assert isinstance(output, SyslogServer)
    assert output._socket is not None
    wait([output._socket], 20)
    log.add([event(2)])
    log.flush()
    assert '"dns-2"' in collector.wait_for(2)[1]


@pytest.mark.parametrize(("names", "arrives"), [(("localhost",), True), (("other.example",), False)])
def test_the_certificate_of_a_syslog_server_is_verified(
    names: tuple[str, ...], arrives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    metrics, collector = Metrics(*METRICS), SyslogCollector(server_context(authority.leaf(*names)))
    try:
        log = start(LogTarget(host="localhost", port=collector.port, is_encrypted=True), metrics)
        log.add([event(1)])
        log.flush()
        if arrives:
            assert '"dns-1"' in collector.wait_for(1)[0]
        assert f"hedgerow_event_log_waiting {0.0 if arrives else 1.0}" in text_of(metrics)
    finally:
        collector.close()


def test_a_webhook_gets_signed_lines_and_a_refused_request_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    authority, metrics = Authority(tmp_path), Metrics(*METRICS)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    monkeypatch.setattr(event_log, "_RETRY_S", 0.0)
    answers, got = [503, 302, 204, 200], list[tuple[str, Message, bytes]]()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.headers, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(answers[len(got) - 1])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    server.socket = server_context(authority.leaf("localhost")).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        log = start(parse_log_target(f"https://localhost:{server.server_port}/hook?from=home"), metrics)
        for number in (1, 2, 3):  # refused, sent elsewhere, taken with what came since
            log.add([event(number)])
            log.flush()
    finally:
        server.shutdown()
        server.server_close()
    assert "hedgerow_event_log_waiting 0.0" in text_of(metrics)
    assert [path for path, _headers, _body in got] == ["/hook?from=home"] * 4
    sent = [[json.loads(line)["subject"] for line in body.splitlines()] for _path, _headers, body in got]
    assert sent == [["dns-1"], ["dns-1"], ["dns-1"], ["dns-2", "dns-3"]]
    identifiers = [headers["webhook-id"] for _path, headers, _body in got]
    assert len(set(identifiers[:3])) == 1 != len(set(identifiers))
    key = base64.b64decode((tmp_path / "webhook-key").read_text().strip().removeprefix("whsec_"))
    for _path, headers, body in got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert stat.S_IMODE((tmp_path / "webhook-key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/var/log/",
        "/var/log/hedgerow/events.jsonl",
        "a/../b",
        "..",
        "udp://logs.example",
        "syslog+tls://",
        "syslog+tls://a:b@c",
        "syslog+tcp://h:99999",
        "http://h/",
        "https://a:b@h/",
        "https://h/ü",
    ],
)
def test_other_texts_are_no_targets(text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse_log_target(text)
