"""The page `/check`, which tests the filter on a device, in Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from small_internet import SmallInternet
from small_internet.browser import CHROMIUM, pin_of
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow

ANSWER = json.dumps({"Status": 0, "Answer": [{"name": "example.com", "type": 1, "data": "192.0.2.1"}]})

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_results_in_chromium(whole_internet: SmallInternet, tmp_path: Path) -> None:
    policy = network_section(whole_internet) + "devices: {laptop: {ip: 127.0.0.1, profile: child-8-12}}\n"
    with (
        running_hedgerow(policy, options=("--doh", "127.0.0.1:0")) as running,
        sync_api.sync_playwright() as playwright,
    ):
        found = re.search(r" doh=(\S+)", running.ready_line)
        assert found
        address = parse_address(found[1])
        secure = {"dns_over_https": {"mode": "secure", "templates": f"https://127.0.0.1:{address[1]}/dns-query"}}
        for folder, state, asks_us in (("ours", secure, True), ("others", {"dns_over_https": {"mode": "off"}}, False)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "Local State").write_text(json.dumps(state))
            arguments = ["--no-sandbox", "--disable-gpu", f"--ignore-certificate-errors-spki-list={pin_of(address)}"]
            context = playwright.chromium.launch_persistent_context(
                str(tmp_path / folder), executable_path=str(CHROMIUM), args=arguments
            )
            try:
                page = _open(context, running)
                fallback = page.locator("object .tag")
                sync_api.expect(fallback).to_be_visible(visible=not asks_us, timeout=20_000)
                _try_the_ways(page)
            finally:
                context.close()


def _open(context: Any, running: Hedgerow) -> Any:
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(running.web + "/check")
    assert not complaints
    return page


def _try_the_ways(page: Any) -> None:
    """One resolver can be reached; another's page is ours, which says nothing of names."""
    page.route(
        "https://1.1.1.1/**", lambda route: route.fulfill(headers={"Access-Control-Allow-Origin": "*"}, body=ANSWER)
    )
    page.route(
        "https://dns.google/**",
        lambda route: route.fulfill(headers={"Access-Control-Allow-Origin": "*"}, body="blocked", status=403),
    )
    for host in ("cloudflare-dns.com", "8.8.8.8", r"\[2606:4700:4700::1111\]", r"\[2001:4860:4860::8888\]"):
        page.route(re.compile(rf"https://{host}/"), lambda route: route.abort())
    page.get_by_role("button", name="Try it").click()
    sync_api.expect(page.locator("#outcome")).to_have_text(re.compile("Something is open"), timeout=30_000)
    rows = page.locator("#ways tbody tr").all()
    shown = {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows}
    assert {name for name, word in shown.items() if word == "open"} == {"1.1.1.1"}
    assert len(shown) == 6
    assert page.get_by_text("Only a gateway can close this").first.is_visible()
