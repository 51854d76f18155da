"""Notices of a running Hedgerow, as they arrive at a mail server and at a web hook."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from small_internet import SmallInternet
from small_internet.clients import curl, kdig, ticket_in
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, executable, hedgerow_command, running_hedgerow, wait_until

SECRET = "correct-horse-battery"


@dataclass
class Mailbox:
    """What a mail server was given."""

    mails: list[Message] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


def _knows_us(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
    return AuthResult(success=login.password == SECRET.encode())


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[Mailbox, int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port, authenticator=_knows_us, auth_require_tls=False)
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


@contextlib.contextmanager
def web_hook() -> Iterator[tuple[list[dict[str, Any]], int]]:
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def subject(mail: Message) -> str:
    return str(make_header(decode_header(str(mail["subject"]))))


def set_address(running: Hedgerow, name: str, address: str) -> None:
    command = [executable(), "notices", "set", name, "--state", str(running.state)]
    subprocess.run(command, input=address + "\n", text=True, check=True, capture_output=True, timeout=60)


NOTICES = """
notices:
  mother: {about: [request], language: de}
  admin: {about: [bypass]}
  gone: {}
"""


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(family_policy(whole_internet) + NOTICES, lists=LISTS) as running:
        yield running


def test_hedgerow_sends_itself_no_notice(house: Hedgerow) -> None:
    set_address(house, "gone", f"{house.web.replace('http', 'json', 1)}/api/v1/pauses")
    refused = _run(house, "test", "gone")
    assert refused.returncode == 1
    assert "leads inside this network" in refused.stdout + refused.stderr


def test_notices_by_mail_and_web_hook(house: Hedgerow, whole_internet: SmallInternet) -> None:
    with mail_server() as (box, mail_port), web_hook() as (told, hook_port):
        # Nobody listens there: it must not keep the others from anything.
        set_address(house, "gone", "json://127.0.0.1:9/")
        set_address(
            house,
            "mother",
            f"mailto://home:{SECRET}@127.0.0.1:{mail_port}/?from=home@house.example&to=mum@house.example&mode=insecure",
        )
        set_address(house, "admin", f"json://admin:{SECRET}@127.0.0.1:{hook_port}/hook")
        shown = _run(house, "test", "admin")
        assert shown.returncode == 0, shown.stderr
        assert told.pop()["title"] == "Hedgerow: A test"
        assert _run(house, "test", "gone").returncode == 1

        kdig(house.dns, "cloudflare-dns.com", source=TABLET)
        site = whole_internet.url("gambling.example", "", "http").rstrip("/")
        ticket = ticket_in(curl(f"{site}/poker", proxy=house.proxy, source=TABLET).text)
        form = [
            "--data-urlencode",
            f"url={site}/poker",
            "--data-urlencode",
            "note=please",
            "--data-urlencode",
            f"ticket={ticket}",
        ]
        options = {"proxy": house.proxy, "source": TABLET, "headers": [f"Origin: {site}"], "options": form}
        assert curl(f"{site}/.well-known/hedgerow/ask", **options).status == 200  # type: ignore[arg-type]
        (mail,) = wait_until(
            lambda: [each for each in box.mails if "mia bittet um Freigabe: gambling.example" in subject(each)],
            30,
            "the mail",
        )
        assert "mum@house.example" in str(mail["to"])
        (attempt,) = wait_until(lambda: [each for each in told if "test" not in each["title"]], 30, "the web hook")
        assert "mia (mia-tablet): something tried to get round the filter and was stopped" in attempt["message"]
        assert "cloudflare" not in json.dumps(attempt), "what was tried is nobody's business"
    sent = {("mother", "sent"), ("admin", "sent"), ("gone", "waiting")}

    def is_noted() -> bool:  # a moment after the services have accepted them
        found = json.loads(_run(house, "list", "--json").stdout)["latest"]
        return {(row["receiver"], row["state"]) for row in found} >= sent

    wait_until(is_noted, 30, "they count as sent")
    rows = json.loads(_run(house, "list", "--json").stdout)
    assert next(row for row in rows["receivers"] if row["name"] == "gone")["problem"]
    _check_secret_is_nowhere(house, json.dumps(rows))


def test_the_weekly_report_comes_as_html_with_a_file(house: Hedgerow, whole_internet: SmallInternet) -> None:
    with mail_server() as (box, port):
        today = f"{datetime.now(UTC):%a}".lower()
        house.edit_policy(
            family_policy(whole_internet) + f"notices: {{father: {{about: [], report: {today} 00:00, language: fr}}}}\n"
        )
        wait_until(lambda: "father" in _run(house, "list").stdout, 30, "the new receiver")
        set_address(
            house,
            "father",
            f"mailto://home:{SECRET}@127.0.0.1:{port}/?from=home@house.example&to=mum@house.example&mode=insecure",
        )
        (mail,) = wait_until(lambda: [each for each in box.mails if "semaine" in subject(each)], 30, "the report")
    parts = {part.get_content_type(): part for part in mail.walk()}
    html = parts["text/html"].get_payload(decode=True)
    assert isinstance(html, bytes)
    assert "La semaine à la maison" in html.decode()
    assert b"<svg" not in html
    assert any(part.get_filename() == "the-week-at-home.html" for part in mail.walk())


def _run(running: Hedgerow, *arguments: str) -> subprocess.CompletedProcess[str]:
    return hedgerow_command("notices", *arguments, "--state", str(running.state), timeout=120)


def _check_secret_is_nowhere(running: Hedgerow, told: str) -> None:
    """But in the receivers' own files, which are for the owner alone."""
    assert SECRET not in told + running.stderr
    holders = [path for path in running.directory.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert sorted(path.name for path in holders) == ["admin", "mother"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in holders)
    assert not any(SECRET in Path(f"/proc/{pid}/cmdline").read_text() for pid in running.all_pids())
