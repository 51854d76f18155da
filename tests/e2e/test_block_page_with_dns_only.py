"""`blocked_answer: page` in a home that has DNS only:

HTTP shows the block page, HTTPS fails at once without a warning.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.spaces import Space, connect, spaces
from playwright.sync_api import Error, sync_playwright
from small_internet.running import executable, without_internet

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

SERVER, TABLET = "192.168.78.1", "192.168.78.11"
POLICY = f"""
network:
  timezone: UTC
  lists: starter
  lan: [192.168.78.0/24]
  upstream: [192.168.78.250]
  blocked_answer: page
people:
  mia: {{age: 9, devices: [tablet]}}
devices:
  tablet: {{ip: {TABLET}}}
lists:
  - {{category: adult, path: adult.txt}}
"""
TLS_ALERT = 35
"""curl's status when TLS cannot be established; a certificate that it distrusts would be 60."""


@contextlib.contextmanager
def home(folder: Path, *, has_other_server: bool = False) -> Iterator[tuple[Space, Space]]:
    """A server with Hedgerow and a tablet. `has_other_server`: port 443 of the server is another program's."""
    with spaces("server", "tablet") as (server, tablet):
        connect(server, "lan", tablet, "eth0")
        server.ip("address", "add", f"{SERVER}/24", "dev", "lan")
        tablet.ip("address", "add", f"{TABLET}/24", "dev", "eth0")
        if has_other_server:
            program = (
                "import socket, sys, time; s = socket.create_server((sys.argv[1], 443)); print('ready', flush=True);"
                " time.sleep(600)"
            )
            other = server.start(sys.executable, "-c", program, SERVER)
            assert other.stdout
            assert other.stdout.readline() == "ready\n"
        (folder / "adult.txt").write_text("adult.example\n")
        (folder / "hedgerow.yaml").write_text(POLICY)
        environment = [f"{key}={value}" for key, value in without_internet({}).items()]
        addresses = ("--dns", f"{SERVER}:53", "--proxy", f"{SERVER}:3128", "--web", f"{SERVER}:8053")
        command = (
            "env",
            "-C",
            str(folder),
            *environment,
            executable(),
            "up",
            "--state",
            str(folder / "state"),
            *addresses,
        )
        process = server.start(*command, stderr=folder / "stderr")
        assert process.stdout
        assert "ready" in process.stdout.readline(), (folder / "stderr").read_text()
        yield server, tablet


def answer(tablet: Space, *options: str) -> str:
    return tablet.must("kdig", f"@{SERVER}", "+timeout=5", "+retry=0", *options, "adult.example")


def test_http_shows_the_reason_and_https_fails_at_once(tmp_path: Path) -> None:
    with home(tmp_path) as (_, tablet):
        assert answer(tablet, "+short").split() == [SERVER]
        told = "category adult; ask at http://hedgerow.internal/device"
        assert told in answer(tablet, "+edns"), "the extended error gives the reason, and the way on"
        own = tablet.must(
            "curl", "-s", "--resolve", f"hedgerow.internal:80:{SERVER}", "http://hedgerow.internal/device"
        )
        assert "Hello, mia!" in own
        assert "This site can’t be reached" in own, "the page prepares for the browser's error"
        lead = ("--resolve", f"adult.example:80:{SERVER}", "--resolve", f"adult.example:443:{SERVER}")
        page = tablet.must("curl", "-s", "-i", "-H", "Accept: text/html", *lead, "http://adult.example/x")
        assert page.startswith("HTTP/1.1 403 ")
        assert "not open here" in page
        assert "<form" in page, "the page asks for access"
        refused = tablet.run("curl", "-s", "-m", "10", *lead, "https://adult.example/")
        assert refused.returncode == TLS_ALERT, refused.stderr


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_that_tries_https_first_comes_to_the_page(tmp_path: Path) -> None:
    with home(tmp_path) as (_, tablet):
        wrapper = tmp_path / "chromium"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{tablet.name} {CHROMIUM} "$@"\n')
        wrapper.chmod(0o755)
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--enable-features=HttpsUpgrades",
            f"--host-resolver-rules=MAP adult.example {SERVER}, MAP hedgerow.internal {SERVER}",
        ]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(wrapper), args=options)
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.goto("http://adult.example/")
            assert page.get_by_role("heading", name="This site is not open here").is_visible()
            with pytest.raises(Error, match="ERR_SSL_PROTOCOL_ERROR"):
                page.goto("https://adult.example/")
            own = browser.new_page(viewport={"width": 390, "height": 844})
            own.goto("http://hedgerow.internal/device")
            assert own.get_by_role("heading", name="Hello, mia!").is_visible()
            assert own.get_by_text("that can be the filter too").is_visible()
            browser.close()


def test_where_another_server_has_a_port_names_lead_nowhere(tmp_path: Path) -> None:
    with home(tmp_path, has_other_server=True) as (_, tablet):
        assert answer(tablet, "+short").split() == ["0.0.0.0"]
