"""The client of dynamic DNS with a provider that speaks dyndns2 over HTTPS and keeps to its rules."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from small_internet.authority import Authority, server_context

from hedgerow.app.doctor.findings import Health
from hedgerow.dashboards.notices import Notice
from hedgerow.dashboards.words.languages import language
from hedgerow.features.dynamic_name.checks import name_finding
from hedgerow.features.dynamic_name.keeper import AGAIN_AFTER_S, DynamicNameKeeper, DynamicRecord
from hedgerow.features.dynamic_name.settings import DynamicName
from hedgerow.network.own_addresses import outgoing_addresses, own_addresses

NOW, HOST = 1_700_000_000.0, "home.example"
OLD, NEW, SIX = "45.55.20.7", "45.55.20.8", "2600:9000:5500::2"


@dataclass
class Provider:
    """A provider with one user and one name. `answer` replaces its own answers, with `status`."""

    authority: Authority
    answer: str = ""
    status: int = 200
    addresses: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    seen: str = NEW

    def __post_init__(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = provider.respond(self.path, self.headers.get("authorization", ""))
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = server_context(self.authority.leaf("localhost"))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str = "/nic/update?hostname={host}&myip={addresses}") -> str:
        return f"https://localhost:{self.server.server_address[1]}{path}"

    def respond(self, path: str, authorization: str) -> tuple[int, str]:
        url = urlsplit(path)
        if url.path == "/ip":
            return 200, f"<html><body>Current IP Address: {self.seen}</body></html>"
        self.asked.append(path)
        if self.answer:
            return self.status, self.answer
        if authorization != "Basic " + base64.b64encode(b"ana:secret").decode():
            return 401, "badauth"
        query = parse_qs(url.query)
        if query["hostname"] != [HOST]:
            return 200, "nohost"
        before, self.addresses = self.addresses, tuple(sorted(query["myip"][0].split(",")))
        return 200, f"{'nochg' if before == self.addresses else 'good'} {query['myip'][0]}"


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    provider = Provider(authority)
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@dataclass
class Home:
    """This machine's end: its addresses, which may change, and what its people are told."""

    folder: Path
    name: DynamicName
    addresses: tuple[str, ...] = (OLD, SIX)
    notices: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "ddns-password").write_text("secret\n")
        self.start()

    def start(self) -> None:
        self.keeper = DynamicNameKeeper(
            lambda: self.name, state=self.folder, enqueue=self.notices.extend, addresses=lambda: self.addresses
        )

    def at(self, now: float) -> DynamicRecord:
        asyncio.run(self.keeper.step(self.name, now))
        return DynamicRecord.load(self.folder)


@pytest.fixture
def home(provider: Provider, tmp_path: Path) -> Home:
    return Home(tmp_path, DynamicName(HOST, provider.url(), "ana"))


def test_only_a_change_is_sent_also_after_a_restart_and_once_a_month(provider: Provider, home: Home) -> None:
    assert home.at(NOW).problem == ""
    assert provider.asked[0].endswith(f"myip={OLD},{SIX}")
    home.at(NOW + 60)
    home.start()
    home.at(NOW + 120)
    assert len(provider.asked) == 1
    home.addresses = (NEW, SIX)
    home.at(NOW + 180)
    assert NEW in provider.addresses
    home.at(NOW + 240 + AGAIN_AFTER_S)
    assert len(provider.asked) == 3
    assert home.notices == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("nohost", "no such name"),
        ("abuse", "too many updates"),
        ("good 127.0.0.1", "this client"),
        ("badauth", "the password"),
    ],
)
def test_after_a_refusal_nothing_is_sent_until_the_password_differs(
    provider: Provider, home: Home, answer: str, problem: str
) -> None:
    provider.answer = answer
    assert problem in home.at(NOW).problem
    for later in (60, 86400):
        home.addresses = (NEW,)
        home.at(NOW + later)
        home.start()
    assert len(provider.asked) == 1
    (notice,) = home.notices
    assert "home.example" in notice.text(language("en"))
    provider.answer = ""
    (home.folder / "ddns-password").write_text("secret")
    home.at(NOW + 90000)
    assert len(provider.asked) == 1, "the same password with other white space"
    home.name = DynamicName(HOST, f"{home.name.url}&x=1", "ana")
    assert home.at(NOW + 90060).problem == ""


def test_a_wrong_password_is_a_refusal(provider: Provider, home: Home) -> None:
    (home.folder / "ddns-password").write_text("wrong")
    assert home.at(NOW).is_final
    (home.folder / "ddns-password").write_text("secret")
    assert home.at(NOW + 60).problem == ""


@pytest.mark.parametrize(
    ("status", "answer", "wait"), [(200, "911", 1800), (200, "dnserr", 60), (503, "<html>busy</html>", 60)]
)
def test_a_provider_in_trouble_is_asked_again_later(
    provider: Provider, home: Home, status: int, answer: str, wait: int
) -> None:
    provider.status, provider.answer = status, answer
    assert answer in home.at(NOW).problem
    home.at(NOW + wait - 1)
    assert len(provider.asked) == 1
    provider.answer = ""
    assert home.at(NOW + wait).problem == ""
    assert home.notices == []


def test_a_provider_that_is_away_and_one_with_a_strange_certificate(
    provider: Provider, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate" in home.at(NOW).problem
    assert provider.asked == [], "no password was sent"
    provider.server.shutdown()
    provider.server.server_close()
    record = home.at(NOW + 60)
    assert "can't be reached" in record.problem
    assert not record.is_final


def test_behind_another_router_a_page_tells_the_address(provider: Provider, home: Home) -> None:
    home.addresses = ("192.168.1.2", "100.64.3.9")
    assert "another router" in home.at(NOW).problem
    home.name = DynamicName(HOST, provider.url(), "ana", provider.url("/ip"))
    assert home.at(NOW + 60).addresses == (NEW,)
    provider.seen = "192.168.1.1"
    assert "no public IPv4 address" in home.at(NOW + 600).problem


def test_a_missing_password_is_named_and_nothing_is_sent(provider: Provider, home: Home) -> None:
    (home.folder / "ddns-password").unlink()
    assert "ddns-password: No such file" in home.at(NOW).problem
    assert provider.asked == []


def test_parameters_of_other_providers(provider: Provider, home: Home) -> None:
    home.name = DynamicName(HOST, provider.url("/update/{host}?token=a%26b&ipv4={ipv4}&ipv6={ipv6}"))
    home.addresses, provider.answer = (SIX,), "good"
    assert home.at(NOW).problem == ""
    assert provider.asked == [f"/update/{HOST}?token=a%26b&ipv6={SIX}"]


def test_doctor_compares_the_name_with_what_was_sent(provider: Provider, home: Home) -> None:
    sent = home.at(NOW)
    for found, later, health in (((OLD,), 0, Health.GOOD), ((NEW,), 60, Health.UNSURE), ((), 9000, Health.UNSURE)):
        assert name_finding(HOST, sent, found, NOW + later).health is health
    assert "account" in name_finding(HOST, sent, (), NOW + 9000).mend
    assert "nothing has been sent" in name_finding("other.example", sent, (), NOW).found
    provider.answer, home.addresses = "nohost", (NEW,)
    refused = name_finding(HOST, home.at(NOW + 60), (), NOW + 60)
    assert (refused.health, "no such name" in refused.found) == (Health.BAD, True)


def test_outgoing_addresses_are_own_ones() -> None:
    assert set(outgoing_addresses()) <= set(own_addresses())
