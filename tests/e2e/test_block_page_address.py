"""`blocked_answer: page`: a blocked name resolves to the block page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.browser import CAN_TRUST, CHROMIUM, trusting
from small_internet.clients import curl, kdig
from small_internet.family import LAPTOP, LISTS, OWN_LISTS, TABLET
from small_internet.running import Hedgerow, network_section, running_hedgerow

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="ports 80 and 443 need root")]
PAGE = "127.80.44.3"
COMPUTER = "127.0.0.1"
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [tablet, laptop, computer]}}
devices:
  computer: {{ip: {COMPUTER}, client_id: mia-computer, trusts_ca: true}}
  tablet: {{ip: {TABLET}, trusts_ca: true}}
  laptop: {{ip: {LAPTOP}}}
"""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + f"  blocked_answer: page\n  block_page: {PAGE}\n" + PEOPLE + OWN_LISTS
    with running_hedgerow(
        policy, lists=LISTS, options=("--doh", "127.0.0.1:0"), upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def resolved(home: Hedgerow, name: str, source: str) -> list[str]:
    found = kdig(home.dns, name, source=source)
    assert found is not None, home.stderr
    return found.data("A")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_blocked_name_leads_to_the_page(home: Hedgerow, scheme: str) -> None:
    assert resolved(home, "adult.example", TABLET) == [PAGE], home.stderr
    port = {"http": 80, "https": 443}[scheme]
    found = curl(
        f"{scheme}://adult.example/", source=TABLET, ca=home.authority, resolve=[f"adult.example:{port}:{PAGE}"]
    )
    assert found.status == 403, home.stderr
    assert b"adult.example" in found.body
    assert b"not open here" in found.body


def test_a_device_without_the_ca_gets_the_page_over_http_and_no_certificate(home: Hedgerow) -> None:
    assert resolved(home, "adult.example", LAPTOP) == [PAGE]
    lead = [f"adult.example:{port}:{PAGE}" for port in (80, 443)]
    assert curl("http://adult.example/", source=LAPTOP, resolve=lead).status == 403
    refused = curl("https://adult.example/", source=LAPTOP, ca=home.authority, resolve=lead)
    assert (refused.status, refused.exit_code) == (0, 35), "a TLS alert: no certificate to warn of"


def test_the_address_serves_the_block_page_only(home: Hedgerow, whole_internet: SmallInternet) -> None:
    """Asked for itself, it has nothing; an allowed name is not made to look blocked."""
    assert curl(f"http://{PAGE}/", source=TABLET).status >= 400
    assert resolved(home, "bank.example", TABLET) == [whole_internet.address_of("bank.example")]
    found = curl("http://bank.example/", source=TABLET, resolve=[f"bank.example:80:{PAGE}"])
    assert b"not open here" not in found.body


@pytest.mark.browser
@pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools")
def test_a_browser_that_trusts_the_ca_shows_the_block_page(home: Hedgerow, tmp_path: Path) -> None:
    """It resolves through us only, and says that the connection is secure: the words are read by whoever asked for the
    site.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = re.search(r" doh=(\S+)", home.ready_line)
    assert found
    profile = tmp_path / "profile"
    profile.mkdir()
    template = f"https://{found[1]}/dns-query/mia-computer"
    (profile / "Local State").write_text(json.dumps({"dns_over_https": {"mode": "secure", "templates": template}}))
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu"],
            env=trusting(tmp_path / "home", home.authority),
        )
        try:
            page = context.new_page()
            answer = page.goto("https://adult.example/")
            assert answer.status == 403, home.stderr
            assert answer.security_details()["subjectName"] == "adult.example"
            assert answer.server_addr()["ipAddress"] == PAGE
            assert page.get_by_role("heading", name="This site is not open here").is_visible()
            assert page.get_by_text("adult.example").first.is_visible()
        finally:
            context.close()
