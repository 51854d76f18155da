"""The ntfy app, set up by three taps in a running Hedgerow, with a server on this machine that speaks ntfy's API."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.ntfy.topics import new_topic


@contextlib.contextmanager
def ntfy_server() -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Take messages as ntfy does that are published as JSON (https://docs.ntfy.sh/publish/#publish-as-json)."""
    published: list[dict[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            published.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            answer = json.dumps({"id": "x", "event": "message", "topic": published[-1]["topic"]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield published, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + "people: {mia: {age: 9}}\n", workers=1) as running:
        yield running


@pytest.fixture
def parent(house: Hedgerow) -> Iterator[httpx.Client]:
    headers = {"origin": house.web, "accept-language": "en"}
    with httpx.Client(
        base_url=house.web, trust_env=False, timeout=60, headers=headers, cookies=house.cookies
    ) as client:
        yield client


def test_three_taps_lead_to_a_notice_in_the_app(house: Hedgerow, parent: httpx.Client) -> None:
    with ntfy_server() as (published, port):
        assert "Set up the ntfy app" in parent.get("/settings/notices").text
        shown = unescape(parent.post("/settings/notices/ntfy", data={"server": f"http://127.0.0.1:{port}"}).text)
        (link,) = re.findall(r'href="(ntfy://[^"]*)"', shown)
        topic = re.fullmatch(rf"ntfy://127\.0\.0\.1:{port}/(hedgerow-[a-z0-9]{{20}})\?secure=false", link)
        assert topic is not None, link
        assert "The test was not sent" not in shown
        assert [each["topic"] for each in published] == [topic[1]], "the test is there before anybody subscribes"
        (name,) = re.findall(r'name="name" value="([^"]*)"', shown)
        assert "A test is on its way" in parent.post("/settings/notices/test", data={"name": name}).text
        wait_until(lambda: len(published) == 2, 30, "the second test")
        assert "This is a test" in published[1]["message"]
        # The topic is a secret: only the private file has it.
        assert topic[1] not in parent.get("/settings/notices").text
        assert topic[1] not in house.policy_path.read_text()
        assert topic[1] not in house.stderr
        parent.post("/settings/notices/ntfy", data={"server": f"http://127.0.0.1:{port}"})
        assert published[2]["topic"] != topic[1], "each phone has a topic of its own"


def test_a_server_that_does_not_answer_is_said_on_the_page(parent: httpx.Client) -> None:
    shown = parent.post("/settings/notices/ntfy", data={"server": "http://127.0.0.1:9"}).text
    assert "The test was not sent" in shown


def test_what_is_no_server_is_refused_at_its_field(house: Hedgerow, parent: httpx.Client) -> None:
    before = house.policy_path.read_text()
    refused = parent.post(
        "/settings/notices/ntfy", data={"server": "a b"}, headers={"referer": f"{house.web}/settings/notices"}
    )
    assert refused.status_code == 422
    assert re.search(r'<input name="server"[^>]*aria-invalid="true"[^>]*value="a b"', refused.text)
    assert house.policy_path.read_text() == before


@pytest.mark.parametrize(
    ("server", "page", "address"),
    [
        ("", "https://ntfy.sh/", "ntfys://ntfy.sh/"),
        ("ntfy.example", "https://ntfy.example/", "ntfys://ntfy.example/"),
        ("HTTPS://Ntfy.example:8443/", "https://ntfy.example:8443/", "ntfys://ntfy.example:8443/"),
        ("http://192.168.1.5:8080", "http://192.168.1.5:8080/", "ntfy://192.168.1.5:8080/"),
        ("http://[fd00::5]:8080", "http://[fd00::5]:8080/", "ntfy://[fd00::5]:8080/"),
    ],
)
def test_a_topic_has_the_addresses_of_its_server(server: str, page: str, address: str) -> None:
    topic = new_topic(server)
    assert (topic.page, topic.address) == (page + topic.name, address + topic.name)


@pytest.mark.parametrize(
    "server", ["ftp://ntfy.example", "a b", "ntfy.example/topic", "user@ntfy.example", "x" * 400 + "!"]
)
def test_other_texts_are_no_servers(server: str) -> None:
    with pytest.raises(InvalidInput):
        new_topic(server)


def test_topics_cannot_be_guessed() -> None:
    assert len({new_topic().name for _ in range(1000)}) == 1000
