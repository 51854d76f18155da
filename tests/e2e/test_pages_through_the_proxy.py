"""Hedgerow's own pages through its proxy: each device gets its own page, whatever is blocked, and nothing of the people
in charge.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import HttpAnswer, curl, kdig
from small_internet.family import LAPTOP, LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

STRANGER, OUTSIDER = "127.0.0.77", "192.0.2.99"
PASSWORD = "four words and more"


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as running:
        running.run("pause", "mia")  # whatever is closed, the page that says so is open
        yield running


def port(house: Hedgerow) -> int:
    return int(house.web.rpartition(":")[2])


def get(
    house: Hedgerow, url: str, source: str = TABLET, headers: list[str] | None = None, options: tuple[str, ...] = ()
) -> HttpAnswer:
    return curl(url, proxy=house.proxy, source=source, headers=headers or [], options=options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hedgerow.internal"])
def test_a_device_gets_its_own_page(house: Hedgerow, host: str) -> None:
    page = get(house, f"http://{host}:{port(house)}/device")
    assert page.status == 200, page.text
    assert "mia-tablet" in page.text
    assert "Ask for a site" in page.text
    assert "mia-tablet" not in get(house, f"http://{host}:{port(house)}/device", STRANGER).text


def test_the_well_known_name_needs_no_port(house: Hedgerow) -> None:
    assert "mia-tablet" in get(house, "http://hedgerow.internal/device").text
    assert kdig(house.dns, "hedgerow.internal", source=TABLET).data("A") == ["127.0.0.1"]  # type: ignore[union-attr]
    direct = curl(f"{house.web}/device", source=TABLET, headers=[f"Host: hedgerow.internal:{port(house)}"])
    assert direct.status == 200


def test_a_form_of_the_page_works(house: Hedgerow) -> None:
    origin = f"http://hedgerow.internal:{port(house)}"
    sent = get(
        house,
        f"{origin}/device/ask",
        headers=[f"Origin: {origin}"],
        options=("-d", "site=chess.example", "-d", "note=for+the+club"),
    )
    assert sent.status == 303, sent.text
    wait_until(lambda: "chess.example" in house.run("requests", "--json").stdout, 30, "the request")
    elsewhere = get(
        house, f"{origin}/device/ask", headers=["Origin: http://evil.example"], options=("-d", "site=x.example")
    )
    assert elsewhere.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Host: 127.0.0.1"],
        ["X-Forwarded-For: 127.0.0.1"],
        ["Hedgerow-Client: 127.0.0.1"],
        ["Via: x"],
        ["Connection: via"],
    ],
)
def test_the_admin_side_stays_closed(house: Hedgerow, headers: list[str]) -> None:
    """Also to a program at this machine's own address: through the proxy, nobody counts as the machine."""
    for source in (TABLET, STRANGER, "127.0.0.1"):
        for path in ("/people", "/log", "/api/v1/status", "/api/v1/setup", "/metrics", "/settings"):
            answer = get(house, f"http://127.0.0.1:{port(house)}{path}", source, headers)
            assert answer.status in {303, 401, 403, 421}, (source, path, answer.status)
            assert "hedgerow_build_info" not in answer.text


def test_other_ports_and_addresses_of_this_machine_stay_closed(house: Hedgerow) -> None:
    for url in (
        f"http://127.0.0.1:{house.dns[1]}/",
        "http://hedgerow.internal:8080/",
        f"http://evil.hedgerow.internal:{port(house)}/device",
    ):
        assert "mia-tablet" not in get(house, url).text, url


def test_a_connection_serves_one_request(house: Hedgerow) -> None:
    """The next one in the same connection could be for another host, which nobody would judge."""
    request = f"GET http://127.0.0.1:{port(house)}/device HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n"
    second = "GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(house.proxy, 20, source_address=(TABLET, 0)) as line:
        line.sendall((request + second).encode())
        answer = b""
        while data := line.recv(65536):
            answer += data
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_kept_connection_comes_back_to_the_gate(house: Hedgerow, whole_internet: SmallInternet) -> None:
    """Some browsers keep one connection to a proxy for all hosts: an inspector has it by then, and sends the request
    back.
    """
    first, own = whole_internet.url("news.example", "/page", "http"), f"http://127.0.0.1:{port(house)}/device"
    connection = http.client.HTTPConnection(*house.proxy, timeout=20, source_address=(LAPTOP, 0))
    connection.request("GET", first)
    answer = connection.getresponse()
    assert (answer.status, bool(answer.read())) == (200, True)
    connection.request("GET", own)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("location"), answer.getheader("connection")) == (307, own, "close")
    connection.close()
    assert "Ask for a site" in get(house, own, LAPTOP).text
