"""The proxy auto-configuration file, as curl gets it and as Chromium applies it."""

from __future__ import annotations

import contextlib
import socket

import pytest
from proxy_stand import Stand
from small_internet.browser import CHROMIUM, browser_for_pages
from small_internet.whole import SmallInternet

from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.own_pages import pac_response


def ask(stand: Stand, request: bytes, address: str = "127.0.0.1") -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    with socket.create_connection((address, stand.gate.port), 10) as client:
        client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("path", "host", "address", "named"),
    [
        ("/proxy.pac", "127.0.0.1:{port}", "127.0.0.1", "127.0.0.1:{port}"),
        # a name may mean another machine tomorrow: the address is what has worked
        ("/wpad.dat", "wpad", "127.0.0.1", "127.0.0.1:{port}"),
        ("/proxy.pac", "192.168.1.2:8080", "127.0.0.1", "192.168.1.2:8080"),  # behind a forwarded port
        ("/wpad.dat", "[::1]:{port}", "::1", "[::1]:{port}"),
        ("/proxy.pac", "x\"; return 'DIRECT", "127.0.0.1", "127.0.0.1:{port}"),
    ],
)
def test_the_file_names_the_address_that_the_client_used(
    stand: Stand, path: str, host: str, address: str, named: str
) -> None:
    host, named = (text.replace("{port}", str(stand.gate.port)) for text in (host, named))
    head, body = ask(stand, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), address)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: application/x-ns-proxy-autoconfig" in head
    assert body == pac_response(Authority(*_split(named))).body
    assert f'return "PROXY {named}";\n}}\n'.encode() in body  # and nothing after it


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def test_head_gets_no_body(stand: Stand) -> None:
    head, body = ask(stand, b"HEAD /wpad.dat HTTP/1.1\r\nHost: wpad\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
def test_chromium_configures_itself_by_it(stand: Stand, net: SmallInternet) -> None:
    with browser_for_pages(
        program=CHROMIUM, args=[f"--proxy-pac-url=http://127.0.0.1:{stand.gate.port}/proxy.pac"]
    ) as browser:
        page = browser.new_page(locale="de-DE")

        def status(host: str) -> int:
            opened = page.goto(net.url(host, "/", "http"))
            assert opened is not None
            return opened.status

        assert status("adult.example") == 403
        assert page.get_by_role("heading", level=1).inner_text() == "Diese Seite ist hier gesperrt"
        assert status("news.example") == 200
        script = pac_response(Authority("192.0.2.1", 3128)).body.decode()
        hosts = ["printer", "nas.home.arpa", "fritz.box", "www.fritz.box", "news.example", "notfritz.box"]
        stub = "const isPlainHostName = host => !host.includes('.');"
        ask = f"hosts => {{ {stub} {script} return hosts.map(host => FindProxyForURL('', host)) }}"
        assert page.evaluate(ask, hosts) == ["DIRECT"] * 4 + ["PROXY 192.0.2.1:3128"] * 2
