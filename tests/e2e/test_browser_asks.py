"""Requests, approvals, denials and expiry in Chromium, behind the proxy and with our DNS over HTTPS."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_internet import SmallInternet
from small_internet.browser import CHROMIUM, FOR_PAGES, pin_of
from small_internet.clients import kdig, kdig_addresses
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PEOPLE = """
people: {mia: {age: 9, devices: [laptop], block: [news.example, games.example]}}
devices: {laptop: {ip: 127.0.0.1, client_id: mia-laptop}}
"""
PATIENCE = 90  # Chromium keeps an answer for a minute, whatever its TTL


@contextlib.contextmanager
def _browsers(running: Hedgerow, folder: Path) -> Iterator[tuple[Any, Any]]:
    """A page behind the proxy, and one of a browser that has only our DNS over HTTPS."""
    found = re.search(r" doh=(\S+)", running.ready_line)
    assert found
    doh = parse_address(found[1])
    folder.mkdir()
    template = f"https://127.0.0.1:{doh[1]}/dns-query/mia-laptop"
    (folder / "Local State").write_text(json.dumps({"dns_over_https": {"mode": "secure", "templates": template}}))
    plain = ["--no-sandbox", "--disable-gpu"]
    with sync_api.sync_playwright() as playwright:
        proxied = playwright.chromium.launch(
            executable_path=str(FOR_PAGES), args=plain, proxy={"server": "http://{}:{}".format(*running.proxy)}
        )
        direct = playwright.chromium.launch_persistent_context(
            str(folder),
            executable_path=str(CHROMIUM),
            args=[*plain, f"--ignore-certificate-errors-spki-list={pin_of(doh)}"],
            # the HTTPS record of the site takes the browser to TLS, whose authority is the test's
            ignore_https_errors=True,
        )
        try:
            yield proxied.new_page(), direct.new_page()
        finally:
            direct.close()
            proxied.close()


def _is_reached(page: Any, url: str) -> bool:
    """Try once, and leave the browser alone for three seconds otherwise: each try takes it a third of a second of CPU
    time.
    """
    if _status(page, url) == 200:
        return True
    page.wait_for_timeout(3000)
    return False


def _status(page: Any, url: str) -> int:
    """0 where the browser finds no server.

    The page after a request reloads itself, and may do so just before it is left.
    """
    while True:
        try:
            return int(page.goto(url).status)
        except sync_api.Error as error:
            if "interrupted by another navigation" not in str(error) and "ERR_ABORTED" not in str(error):
                return 0


def _ask(running: Hedgerow, page: Any, url: str) -> int:
    """By the button of the block page; returns the request's id."""
    assert _status(page, url) == 403
    page.get_by_role("button", name="Ask for access").click()
    sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("Your request was sent", timeout=30_000)
    (request,) = wait_until(lambda: json.loads(running.run("requests", "--json").stdout), 30, "the request")
    return int(request["id"])


@pytest.mark.root  # without, the origins listen at 127.0.0.1 too, which is where 0.0.0.0, the blocked answer, leads
@pytest.mark.timeout(400)
def test_ask_approve_reach_deny_expire(internet: SmallInternet, tmp_path: Path) -> None:
    clock = WallClock(tmp_path, time.time())
    policy = network_section(internet) + "  server_name: dns.home.example\n" + PEOPLE
    news, games = (internet.url(host, "/", "http") for host in ("news.example", "games.example"))
    with (
        running_hedgerow(policy, options=("--doh", "127.0.0.1:0"), environment=clock.environment) as running,
        _browsers(running, tmp_path / "profile") as (proxied, direct),
    ):
        assert _status(direct, internet.url("bank.example", "/", "http")) == 200
        assert _status(direct, news) != 200, "and the browser remembers that"
        assert not internet.origins.requests("news.example"), "0.0.0.0 is this machine, whatever serves there"
        request = _ask(running, proxied, news)
        before = clock.now()
        assert running.run("requests", "--approve", str(request), "--for", "hour").returncode == 0
        approved = clock.now()
        wait_until(lambda: _status(proxied, news) == 200, 30, "reached behind the proxy")
        wait_until(lambda: _is_reached(direct, news), PATIENCE, "reached by DNS, over what the browser remembered")

        request = _ask(running, proxied, games)
        assert running.run("requests", "--deny", str(request)).returncode == 0
        assert _status(proxied, games) == 403
        clock.set(before + 3600 - 30)
        answer = kdig(running.dns, "news.example", source="127.0.0.1")
        assert answer is not None
        assert answer.data("A") == [internet.address_of("news.example")]
        assert all(ttl <= 30 + approved - before for _, ttl, _, _ in answer.records), "no answer outlives the grant"
        clock.set(approved + 3600)
        wait_until(lambda: _status(proxied, news) == 403, 30, "the hour is over")
        assert kdig_addresses(running.dns, "news.example", source="127.0.0.1") == ["0.0.0.0"]
