"""Web pages through the proxy."""

from __future__ import annotations

import json
import socket

import pytest
from small_internet import SmallInternet
from small_internet.bodies import body_sha256
from small_internet.clients import HttpAnswer, curl, curl_sha256, ticket_in
from small_internet.family import COMPUTER, OUTSIDER, TABLET, say
from small_internet.running import Hedgerow, wait_until

LIFELINE = "0800 1111"  # Childline, the network is in Great Britain
ASK_PATH = "/.well-known/hedgerow/ask"


def fetch(
    running: Hedgerow, url: str, internet: SmallInternet, *, source: str = TABLET, **options: object
) -> HttpAnswer:
    authority = running.authority if source == COMPUTER else internet.authority.root
    return curl(url, proxy=running.proxy, source=source, ca=authority, **options)  # type: ignore[arg-type]


def test_a_blocked_http_page_is_a_block_page(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet.url("adult.example", "/pictures", "http"), internet)
    assert answer.status == 403
    assert answer.headers["content-type"][0].startswith("text/html")
    assert "adult.example" in answer.text
    assert ASK_PATH in answer.text
    assert LIFELINE in answer.text
    assert internet.origins.connections() == [], "the origin of a blocked page was dialled"


def test_the_button_of_the_block_page_files_an_access_request(family: Hedgerow, internet: SmallInternet) -> None:
    page = internet.url("gambling.example", "/poker", "http")
    url = internet.url("gambling.example", ASK_PATH, "http")
    form = ["--data-urlencode", f"url={page}", "--data-urlencode", "note=for my homework"]
    forged = fetch(family, url, internet, headers=[f"Origin: {page.removesuffix('/poker')}"], options=form)
    assert forged.status == 403, "a script of the same site may ask in the child's name"
    form += ["--data-urlencode", f"ticket={ticket_in(fetch(family, page, internet).text)}"]
    foreign = fetch(family, url, internet, headers=["Origin: http://news.example"], options=form)
    assert foreign.status == 403, "another site may ask in the child's name"
    asked = fetch(family, url, internet, headers=[f"Origin: {page.removesuffix('/poker')}"], options=form)
    assert asked.status == 200, asked.text

    def filed() -> bool:
        listed = family.run("requests", "--json")
        assert listed.returncode == 0, listed.stderr
        found = [(each["url"], each["note"], each["device"]) for each in json.loads(listed.stdout)]
        return found == [(page, "for my homework", "mia-tablet")]

    wait_until(filed, 30, "the request is listed")


def test_connect_to_a_blocked_host_is_refused_with_a_reason(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet.url("adult.example"), internet)
    assert (answer.exit_code, answer.connect_status) == (56, 403)
    raw = say(family, b"CONNECT adult.example:443 HTTP/1.1\r\nHost: adult.example:443\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"adult.example" in body
    assert internet.origins.connections() == []


@pytest.mark.parametrize("host", ["files.example", "h2.example"])
def test_an_allowed_https_host_shows_its_own_certificate(family: Hedgerow, internet: SmallInternet, host: str) -> None:
    answer = fetch(family, internet.url(host, "/hello"), internet)
    assert (answer.exit_code, answer.status, answer.connect_status) == (0, 200, 200), answer.error
    assert "Small Internet test root" in answer.certificate
    assert answer.json()["tls"]["sni"] == host


def test_a_large_download_through_the_tunnel_is_exact(family: Hedgerow, internet: SmallInternet) -> None:
    size = 200_000_000
    url = internet.url("files.example", f"/bytes/{size}")
    found = curl_sha256(url, proxy=family.proxy, source=TABLET, ca=internet.authority.root)
    assert found == (body_sha256(size), 0)


def test_plain_http_is_unchanged(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet.url("files.example", "/a%20b?c=d&e", "http"), internet, headers=["X-Mine: 1"])
    assert answer.status == 200
    told = answer.json()
    assert (told["target"], told["method"]) == ("/a%20b?c=d&e", "GET")
    names = {name.lower() for name, _ in told["headers"]}
    assert "x-mine" in names
    assert not [name for name in names if "hedgerow" in name or name.startswith("proxy-")], names


def test_a_blocked_path_is_a_block_page_even_over_https_where_the_ca_is_trusted(
    family: Hedgerow, internet: SmallInternet
) -> None:
    blocked = fetch(family, internet.url("www.school.example", "/secret/x"), internet, source=COMPUTER)
    assert (blocked.exit_code, blocked.status) == (0, 403), blocked.error
    assert "www.school.example" in blocked.text
    assert ASK_PATH in blocked.text
    assert LIFELINE in blocked.text
    allowed = fetch(family, internet.url("www.school.example", "/lessons"), internet, source=COMPUTER)
    assert (allowed.exit_code, allowed.status) == (0, 200), allowed.error
    assert internet.origins.requests("www.school.example") == [("www.school.example", "/lessons")]


def test_a_blocked_host_is_a_block_page_over_https_where_the_ca_is_trusted(
    family: Hedgerow, internet: SmallInternet
) -> None:
    answer = fetch(family, internet.url("adult.example"), internet, source=COMPUTER)
    assert (answer.exit_code, answer.status) == (0, 403), answer.error
    assert "adult.example" in answer.text
    assert internet.origins.connections() == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("www.google.com/search?q=cats&safe=off", "safe=active"),
        ("www.bing.com/search?q=cats", "adlt=strict"),
        ("duckduckgo.com/?q=cats", "kp=1"),
    ],
)
def test_safe_search_reaches_the_engine(family: Hedgerow, internet: SmallInternet, url: str, expected: str) -> None:
    host, _, path = url.partition("/")
    answer = fetch(family, internet.url(host, f"/{path}"), internet, source=COMPUTER)
    assert (answer.exit_code, answer.status) == (0, 200), answer.error
    target = answer.json()["target"]
    assert expected in target
    assert "q=cats" in target
    assert "safe=off" not in target


def test_restricted_mode_reaches_youtube(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet.url("www.youtube.com", "/watch?v=1"), internet, source=COMPUTER)
    assert (answer.exit_code, answer.status) == (0, 200), answer.error
    assert {name.lower(): value for name, value in answer.json()["headers"]}["youtube-restrict"] == "Strict"


def test_inspection_does_not_hide_a_bad_certificate(family: Hedgerow, internet: SmallInternet) -> None:
    for host in ("self-signed.example", "expired.example", "wrong-name.example"):
        assert fetch(family, internet.url(host), internet).exit_code == 60
        through_inspection = fetch(family, internet.url(host), internet, source=COMPUTER)
        assert through_inspection.status != 200, host


def test_clients_outside_the_network_get_nothing(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet.url("files.example", "/hello", "http"), internet, source=OUTSIDER)
    assert answer.status in (0, 403)
    assert internet.origins.requests() == []


def test_the_web_page_shows_devices_and_decisions(family: Hedgerow, internet: SmallInternet) -> None:
    fetch(family, internet.url("adult.example", "/", "http"), internet)
    signed_in = [f"Cookie: {name}={value}" for name, value in family.cookies.items()]
    wait_until(lambda: "mia-tablet" in curl(family.web + "/", headers=signed_in).text, 30, "the device on the page")
    wait_until(
        lambda: "adult.example" in curl(family.web + "/log", headers=signed_in).text, 30, "the decision on the page"
    )
    metrics = curl(family.web + "/metrics")
    assert metrics.status == 200
    assert "hedgerow_" in metrics.text
    assert "adult.example" not in metrics.text


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: \r\n\r\n",
        b"CONNECT nonsense HTTP/1.1\r\n\r\n",
        b"CONNECT adult.example:99999 HTTP/1.1\r\n\r\n",
        (
            b"GET http://files.example/ HTTP/1.1\r\nHost: files.example\r\nContent-Length: 5\r\nTransfer-Encoding:"
            b" chunked\r\n\r\n0\r\n\r\n"
        ),
        (
            b"GET http://files.example/ HTTP/1.1\r\nHost: files.example\r\nContent-Length: 5\r\nContent-Length:"
            b" 6\r\n\r\nhello"
        ),
        b"\x16\x03\x01\x00\x05hello",
    ],
)
def test_garbage_is_refused_and_the_connection_closed(family: Hedgerow, internet: SmallInternet, head: bytes) -> None:
    answer = say(family, head, seconds=15)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), answer[:200]
    assert fetch(family, internet.url("files.example", "/still-here", "http"), internet).status == 200


def test_endless_headers_are_refused(family: Hedgerow, internet: SmallInternet) -> None:
    with socket.create_connection(family.proxy, timeout=10, source_address=(TABLET, 0)) as sock:
        sock.sendall(b"GET http://files.example/ HTTP/1.1\r\n")
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012  the write that fails is any one of them
            while sent < 8_000_000:
                sock.sendall(b"X-Padding: " + b"p" * 4000 + b"\r\n")
                sent += 4013
    assert internet.origins.requests() == []


def test_half_open_connections_do_not_stop_others(family: Hedgerow, internet: SmallInternet) -> None:
    held = [socket.create_connection(family.proxy, source_address=(TABLET, 0)) for _ in range(200)]
    try:
        for index, sock in enumerate(held):
            sock.sendall(b"GET http://files" if index % 2 else b"")
        assert fetch(family, internet.url("files.example", "/hello", "http"), internet).status == 200
    finally:
        for sock in held:
            sock.close()
