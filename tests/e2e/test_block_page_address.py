"""`blocked_answer: page`: the device asks for a blocked name, goes where it is told, and is shown why."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.family import LAPTOP, LISTS, OWN_LISTS, TABLET
from small_internet.running import Hedgerow, network_section, running_hedgerow

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="ports 80 and 443 need root")]
PAGE = "127.80.44.3"
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [tablet, laptop]}}
devices:
  tablet: {{ip: {TABLET}, trusts_ca: true}}
  laptop: {{ip: {LAPTOP}}}
"""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + f"  blocked_answer: page\n  block_page: {PAGE}\n" + PEOPLE + OWN_LISTS
    with running_hedgerow(policy, lists=LISTS, upstream_authority=whole_internet.authority.root) as running:
        yield running


def resolved(home: Hedgerow, name: str, source: str) -> list[str]:
    found = kdig(home.dns, name, source=source)
    assert found is not None, home.stderr
    return found.data("A")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_blocked_name_leads_to_the_page(home: Hedgerow, scheme: str) -> None:
    assert resolved(home, "adult.example", TABLET) == [PAGE], home.stderr
    port = {"http": 80, "https": 443}[scheme]
    found = curl(f"{scheme}://adult.example/", source=TABLET, ca=home.authority, resolve=[f"adult.example:{port}:{PAGE}"])
    assert found.status == 403, home.stderr
    assert b"adult.example" in found.body
    assert b"not open here" in found.body


def test_a_device_that_would_be_frightened_is_not_led_there(home: Hedgerow) -> None:
    assert resolved(home, "adult.example", LAPTOP) == ["0.0.0.0"]


def test_the_address_serves_nobody_else(home: Hedgerow, whole_internet: SmallInternet) -> None:
    """Asked for itself, it has nothing; an allowed name is not made to look blocked."""
    assert curl(f"http://{PAGE}/", source=TABLET).status >= 400
    assert resolved(home, "bank.example", TABLET) == [whole_internet.address_of("bank.example")]
    found = curl("http://bank.example/", source=TABLET, resolve=[f"bank.example:80:{PAGE}"])
    assert b"not open here" not in found.body
