"""A quiet hour in a running Hedgerow, as its clients meet it."""

from __future__ import annotations

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import hedgerow_command, network_section, running_hedgerow, wait_until

HOST, BLOCKED = "news.example", ["0.0.0.0"]
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet]}
  Ana: {profile: adult, devices: [phone]}
devices:
  tablet: {ip: 127.0.0.2}
  phone: {ip: 127.0.0.3}
"""
TABLET, PHONE, NAMELESS = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.mark.service
def test_children_are_offline_for_an_hour_and_read_why_while_adults_work(whole_internet: SmallInternet) -> None:
    with running_hedgerow(network_section(whole_internet) + PEOPLE) as house:

        def is_closed(address: str) -> bool:
            return kdig_addresses(house.dns, HOST, source=address) == BLOCKED

        assert hedgerow_command("quiet-hour", "begin", "--state", str(house.state)).returncode == 0
        assert is_closed(TABLET), "in force once the command has ended"
        assert is_closed(NAMELESS), "it could be mia's"
        assert not is_closed(PHONE)
        transport = httpx.HTTPTransport(local_address=TABLET, verify=False)
        with httpx.Client(base_url=house.web, transport=transport, trust_env=False, timeout=60) as tablet:
            assert "Quiet hour for all children until" in tablet.get("/device").text
        page = curl(whole_internet.url(HOST, scheme="http"), proxy=house.proxy, source=TABLET).text
        assert "Quiet hour</h1>" in page
        assert hedgerow_command("quiet-hour", "end", "--state", str(house.state)).returncode == 0
        wait_until(lambda: not is_closed(TABLET), 30)
