"""Recorded browsing through the proxy, thousands of URLs on kept connections: each reaches its host as without the
proxy.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import random
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.nameserver import nameserver
from small_internet.records import parse_zone
from small_internet.running import network_section
from small_internet.whole import SmallInternet

from hedgerow.blocklists.names import is_address, parse_host

pytestmark = pytest.mark.shared
ORIGIN = "127.0.0.1"
_MOST = 3000
_ON_A_CONNECTION = 400


class _Echo(http.server.BaseHTTPRequestHandler):
    """Says what it was asked for, and of which host."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: the second would wait until the client has confirmed the first

    def do_GET(self) -> None:
        body = f"{self.path} of {self.headers['Host']}".encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def recorded(folder: Path) -> list[str]:
    """URLs from three recordings, as many of them as are tried, the same in each run."""
    urls = [
        line.split(" ")[0] for line in (folder / "squidguard-requests.txt").read_text(encoding="latin-1").splitlines()
    ]
    urls += [each["url"] for each in json.loads((folder / "matching-test-requests.json").read_text(encoding="utf-8"))]
    with zipfile.ZipFile(folder / "urlfilter-requests.json.zip") as archive:
        urls += [json.loads(line)["url"] for line in archive.read("requests.json").decode().splitlines()]
    found = [
        url
        for url in dict.fromkeys(urls)
        if url.startswith(("http://", "https://")) and len(url) < 4000 and '"' not in url
    ]
    return random.Random(5).sample(found, min(_MOST, len(found)))


def as_http(url: str, port: int) -> str | None:
    """The URL on the echo's port; None where its host is no name that can be looked up."""
    parts = urlsplit(url)
    host = parse_host(parts.hostname or "")
    if host is None or is_address(host) or "." not in host or not url.isascii():
        return None
    return parts._replace(scheme="http", netloc=f"{host}:{port}", fragment="").geturl()


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    with http.server.ThreadingHTTPServer((ORIGIN, 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def urls(shared_data: Path, origin: int) -> list[str]:
    return [each for url in recorded(shared_data / "requests") if (each := as_http(url, origin)) is not None]


@pytest.fixture(scope="module")
def world(net: SmallInternet, origin: int, urls: list[str]) -> Iterator[Stand]:
    """Every name of the recordings leads to the echo; the device is an adult's, to whom all of them are open."""
    suffixes = sorted({(urlsplit(url).hostname or "").rpartition(".")[2] for url in urls})
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(nameserver([parse_zone(suffix, f"* A {ORIGIN}") for suffix in suffixes]))
        whole = replace(net, nameserver=names)
        policy = network_section(whole).replace("  ports: [", f"  unknown_devices: adult\n  ports: [{origin}, ")
        yield stack.enter_context(proxy_stand(whole, policy))


def seen(urls: list[str], *options: str) -> list[str]:
    """What curl tells of each: the status, and what the echo said. It keeps a connection for hundreds of them."""
    words = ["curl", "-gsS", "--path-as-is", "--max-time", "20", "-w", " %{http_code}\\n", *options, "-K", "-"]
    lines: list[str] = []
    for batch in itertools.batched(urls, _ON_A_CONNECTION):
        asked = "".join(f'url = "{url}"\noutput = -\n' for url in batch).replace("\\", "\\\\")
        done = subprocess.run(words, input=asked, capture_output=True, text=True, check=False, encoding="latin-1")
        lines += done.stdout.splitlines()
    return lines


def test_every_url_arrives_unchanged(world: Stand, origin: int, urls: list[str]) -> None:
    assert len(urls) > 2000
    without = seen(urls, "--connect-to", f"::{ORIGIN}:{origin}")
    through = seen(urls, "-x", f"http://127.0.0.1:{world.gate.port}")
    assert len(without) == len(urls)
    assert through == without
