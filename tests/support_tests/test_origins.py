"""The test origins, fetched by curl without a proxy."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.bodies import body, body_sha256
from small_internet.clients import HttpAnswer, curl, curl_sha256
from small_internet.running import wait_until
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Request, TextMessage


def fetch(net: SmallInternet, host: str, path: str = "/", scheme: str = "https", **options: object) -> HttpAnswer:
    url = net.url(host, path, scheme)
    return curl(url, ca=net.authority.root, resolve=net.resolve(host), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "version"), [("news.example", "1.1"), ("h2.example", "2")])
def test_an_origin_tells_what_it_was_asked(internet: SmallInternet, host: str, version: str) -> None:
    answer = fetch(internet, host, "/search?q=x", source="127.0.0.2", headers=["X-Test: yes"])
    assert (answer.exit_code, answer.status, answer.version) == (0, 200, version)
    reported = answer.json()
    assert (reported["method"], reported["target"], reported["peer"]) == ("GET", "/search?q=x", "127.0.0.2")
    assert reported["address"] == internet.address_of(host)
    assert reported["tls"]["sni"] == host
    assert ["x-test", "yes"] in [[name.lower(), value] for name, value in reported["headers"]]
    assert "Small Internet test root" in answer.certificate
    assert internet.origins.requests() == [(host, "/search?q=x")]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["files.example", "h2.example"])
def test_a_large_download_is_exact_and_counted(internet: SmallInternet, host: str, scheme: str) -> None:
    size = 30_000_001
    mapping = [word for each in internet.resolve(host) for word in ("--resolve", each)]
    digest, status = curl_sha256(
        internet.url(host, f"/bytes/{size}", scheme), ca=internet.authority.root, options=mapping
    )
    assert (digest, status) == (body_sha256(size), 0)
    assert size < internet.origins.bytes_sent(internet.address_of(host)) < size * 1.01


def test_a_body_differs_from_itself_with_a_piece_lost() -> None:
    whole = b"".join(body(200_000))
    assert hashlib.sha256(whole).hexdigest() == body_sha256(200_000)
    assert whole[65536:131072] != whole[:65536]


def test_a_range_is_that_part_of_the_whole(internet: SmallInternet) -> None:
    answer = fetch(internet, "files.example", "/bytes/200000", options=["--range", "65000-66000"])
    assert answer.status == 206
    assert answer.headers["content-range"] == ["bytes 65000-66000/200000"]
    assert answer.body == b"".join(body(200_000))[65000:66001]


@pytest.mark.parametrize("host", ["files.example", "h2.example"])
def test_an_upload_is_summed(internet: SmallInternet, host: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"".join(body(3_000_000)))
    answer = fetch(internet, host, "/upload", options=["--data-binary", f"@{tmp_path / 'data'}"])
    assert answer.json() == {"length": 3_000_000, "sha256": body_sha256(3_000_000)}
    assert internet.origins.bytes_received() > 3_000_000


@pytest.mark.parametrize(
    ("path", "exit_code", "status", "size"),
    [
        ("/chunked/100000", 0, 200, 100000),
        ("/drip/5/0.01", 0, 200, 5),
        ("/status/404", 0, 404, 0),
        ("/redirect?to=/page", 0, 302, 0),
        ("/slow/30", 28, 0, 0),
        ("/broken/closes-mid-body", 18, 200, 500),
        ("/broken/bad-chunk", 56, 200, 5),
        ("/broken/short-length", 0, 200, 5),
        ("/broken/long-length", 28, 200, 5),
        ("/broken/garbage", 1, 0, 0),
        ("/broken/silent", 28, 0, 0),
        ("/broken/no-answer", 52, 0, 0),
        ("/broken/reset", 56, 200, 500),
        ("/broken/endless-head", 56, 200, 0),
    ],
)
def test_each_page_behaves_as_it_says(
    internet: SmallInternet, path: str, exit_code: int, status: int, size: int
) -> None:
    answer = fetch(internet, "broken.example", path, "http", timeout=0.7)
    assert (answer.exit_code, answer.status, answer.size) == (exit_code, status, size)


def test_endless_pages_end_with_the_client(internet: SmallInternet) -> None:
    assert fetch(internet, "files.example", "/endless", timeout=0.3).exit_code == 28
    assert b"data: event 2" in fetch(internet, "files.example", "/sse/3", timeout=0.5).body
    wait_until(lambda: not any(each.is_open for each in internet.origins.connections()), 5)


@pytest.mark.parametrize("host", ["self-signed.example", "expired.example", "wrong-name.example"])
def test_a_bad_certificate_is_refused_by_curl(internet: SmallInternet, host: str) -> None:
    assert fetch(internet, host).exit_code == 60
    assert internet.origins.requests() == []
    assert [each.sni for each in internet.origins.connections()] == [host]


def test_a_connection_is_recorded_before_it_says_anything(internet: SmallInternet) -> None:
    address = internet.address_of("bank.example")
    with socket.create_connection((address, internet.origins.https_port)):
        wait_until(lambda: internet.origins.connections(address), 5)


def test_a_websocket_echoes(internet: SmallInternet) -> None:
    address = (internet.address_of("chat.example"), internet.origins.http_port)
    client = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(client.send(Request(host="chat.example", target="/websocket")))
        events: list[Event] = []
        while not any(isinstance(event, TextMessage) for event in events):
            client.receive_data(sock.recv(4096))
            fresh = list(client.events())
            if any(isinstance(event, AcceptConnection) for event in fresh):
                sock.sendall(client.send(TextMessage(data="hello")))
            events += fresh
    assert [event.data for event in events if isinstance(event, TextMessage)] == ["hello"]


def test_dual_stack_hosts_are_reached_over_both_families(internet: SmallInternet) -> None:
    port = internet.origins.http_ports[-1]
    answer = curl(f"http://dual.example:{port}/", resolve=[f"dual.example:{port}:[::1]"])
    assert answer.json()["address"] == "::1"


@pytest.mark.root
def test_root_gets_the_ports_that_urls_leave_out(internet: SmallInternet) -> None:
    assert os.geteuid() == 0
    assert internet.url("news.example") == "https://news.example/"
    assert internet.url("news.example", scheme="http") == "http://news.example/"


def test_the_ech_record_is_a_whole_ech_config_list() -> None:
    from small_internet.zones import ECH

    raw = base64.b64decode(ECH)
    assert int.from_bytes(raw[:2], "big") == len(raw) - 2
    assert raw[2:4] == b"\xfe\x0d"
    assert int.from_bytes(raw[4:6], "big") == len(raw) - 6
