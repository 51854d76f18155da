"""Chromium with our DNS over HTTPS as its only resolver."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from small_internet import SmallInternet
from small_internet.browser import CHROMIUM, pin_of
from small_internet.family import LISTS, OWN_LISTS
from small_internet.running import network_section, parse_address, running_hedgerow

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PEOPLE = """
people: {mia: {age: 9, devices: [mia-laptop]}}
devices: {mia-laptop: {client_id: mia-laptop}}
"""


@pytest.mark.root  # without, the origins listen at 127.0.0.1 too, which is where 0.0.0.0, the blocked answer, leads
def test_chromium_over_our_doh(whole_internet: SmallInternet, tmp_path: Path) -> None:
    net = whole_internet
    before = net.nameserver.queries("adult.example")  # of other tests, whose devices may have it
    policy = network_section(net, lan=("127.0.0.200/32",)) + "  server_name: dns.home.example\n" + PEOPLE + OWN_LISTS
    with running_hedgerow(
        policy, lists=LISTS, options=("--doh", "127.0.0.1:0"), upstream_authority=net.authority.root
    ) as running:
        found = re.search(r" doh=(\S+)", running.ready_line)
        assert found
        doh = parse_address(found[1])
        template = f"https://127.0.0.1:{doh[1]}/dns-query/mia-laptop"
        (tmp_path / "Local State").write_text(json.dumps({"dns_over_https": {"mode": "secure", "templates": template}}))
        arguments = ["--no-sandbox", "--disable-gpu", f"--ignore-certificate-errors-spki-list={pin_of(doh)}"]
        with sync_api.sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                str(tmp_path), executable_path=str(CHROMIUM), args=arguments, ignore_https_errors=True
            )
            try:
                _browse(context, net)
            finally:
                context.close()
    assert net.nameserver.queries("adult.example") == before


def _browse(context: Any, net: SmallInternet) -> None:
    page = context.new_page()
    assert page.goto(net.url("h2.example", "/page")).status == 200
    # 0.0.0.0 is this machine, where another program may listen at that port
    with pytest.raises(sync_api.Error, match=r"ERR_(CONNECTION|ADDRESS)_\w+"):
        page.goto(net.url("adult.example", "/"))
