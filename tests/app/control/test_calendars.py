"""Holiday calendars from URLs: download, refusal of other content, and use by the policy."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hedgerow.app.control.snapshots.publisher import PolicyFile
from hedgerow.app.control.upkeep.calendars import CalendarUpdater
from hedgerow.policies.reading.holidays import MAX_CALENDAR_BYTES, calendar_copy_path
from hedgerow.policies.reading.load import load_policy

CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//school//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:{first}
SUMMARY:No school
END:VEVENT
END:VCALENDAR
"""


class Publisher:
    """Serves `body` at every path; an empty one is a 404."""

    def __init__(self) -> None:
        self.body = b""
        self.encoding = "identity"
        self.asked: list[str] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked.append(self.path)
                self.send_response(200 if publisher.body else 404)
                self.send_header("Content-Length", str(len(publisher.body)))
                self.send_header("Content-Encoding", publisher.encoding)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(publisher.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/school.ics"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


def test_the_last_good_copy_stays(publisher: Publisher, tmp_path: Path) -> None:
    folder, policy = tmp_path / "calendars", tmp_path / "hedgerow.yaml"
    policy.write_text(f"network: {{holidays: [2026-12-24, '{publisher.url}']}}\n")
    file = PolicyFile(policy, load_policy(policy, folder), 0.0, calendars=folder)
    updater = CalendarUpdater(folder, lambda: file.policy.calendars)

    def holidays() -> tuple[date, ...]:
        return file.policy.network.holidays

    assert file.policy.calendars == (publisher.url,)
    assert asyncio.run(file.reload())
    assert holidays() == (date(2026, 12, 24),)

    publisher.body = CALENDAR.format(first="20261208").encode()
    assert asyncio.run(updater.fetch(publisher.url))
    assert file.has_changed(), "the follower of the policy file sees the copy"
    assert asyncio.run(file.reload())
    assert holidays() == (date(2026, 12, 8), date(2026, 12, 24))

    for bad in (b"", b"<html>Sign in</html>", b"x" * (MAX_CALENDAR_BYTES + 1), b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"):
        publisher.body = bad
        assert not asyncio.run(updater.fetch(publisher.url)), bad[:20]
        assert calendar_copy_path(publisher.url, folder).read_text().startswith("BEGIN:VCALENDAR\nVERSION"), (
            "the good copy"
        )
    assert asyncio.run(file.reload())
    assert holidays() == (date(2026, 12, 8), date(2026, 12, 24))
    assert [each.name for each in folder.iterdir()] == [calendar_copy_path(publisher.url, folder).name]


def test_the_whole_address_of_a_calendar_is_asked_for(publisher: Publisher, tmp_path: Path) -> None:
    publisher.body = CALENDAR.format(first="20261208").encode()
    url = f"{publisher.url}?of=Our School, all year"
    assert asyncio.run(CalendarUpdater(tmp_path, lambda: (url,)).fetch(url))
    assert publisher.asked == ["/school.ics?of=Our%20School,%20all%20year"]


def test_a_calendar_is_fetched_once_a_day(publisher: Publisher, tmp_path: Path) -> None:
    publisher.body = CALENDAR.format(first="20261208").encode()
    fetched: list[str] = []

    class Counted(CalendarUpdater):
        async def fetch(self, url: str) -> bool:
            fetched.append(url)
            is_good = await super().fetch(url)
            done.set()
            return is_good

    async def run(updater: CalendarUpdater, limit: float) -> None:
        task = asyncio.create_task(updater.run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), limit)
        task.cancel()

    for limit in (60, 0.3):
        done = asyncio.Event()
        asyncio.run(run(Counted(tmp_path, lambda: (publisher.url,)), limit))
    assert fetched == [publisher.url], "a copy of today is good enough, also after a restart"


def test_a_compressed_calendar_that_is_too_large_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    updater = CalendarUpdater(tmp_path, lambda: (publisher.url,))
    publisher.body, publisher.encoding = gzip.compress(b"BEGIN:VCALENDAR\n" * (1 << 21)), "gzip"
    assert not asyncio.run(updater.fetch(publisher.url))
    publisher.body = gzip.compress(CALENDAR.format(first="20261208").encode())
    assert asyncio.run(updater.fetch(publisher.url))
    publisher.encoding = "br"
    assert not asyncio.run(updater.fetch(publisher.url))
