"""A birthday in a running Hedgerow: announced before it, and not passed over by a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.running import hedgerow_command, network_section, running_hedgerow, wait_until

TABLET = "127.0.0.2"


@pytest.mark.service
def test_a_birthday_in_ten_days_is_announced_and_explained(whole_internet: SmallInternet) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=10)
    born = f"{soon.year - 13}-{soon:%m-%d}"
    people = f'\npeople: {{mia: {{born: "{born}", devices: [tablet]}}}}\ndevices: {{tablet: {{ip: {TABLET}}}}}\n'
    with running_hedgerow(network_section(whole_internet) + people) as house:

        def explained(days: int) -> tuple[int, str]:
            at = f"{datetime.now(UTC).date() + timedelta(days=days)}T12:00"
            words = ("explain", "tablet", "news.example", "--at", at, "--json", "--state", str(house.state))
            found = json.loads(hedgerow_command(*words).stdout)
            return found["age"], found["profile"]

        transport = httpx.HTTPTransport(local_address=TABLET, verify=False)
        with httpx.Client(base_url=house.web, transport=transport, trust_env=False, timeout=60) as tablet:
            wait_until(lambda: "You are getting older" in tablet.get("/device").text, 60)
        wait_until(lambda: explained(40) == (13, "teen-13-15"), 30)
        assert explained(5) == (12, "child-8-12")
        assert explained(15) == (13, "child-8-12"), "announced today, so in thirty days"
        assert explained(4 * 365) == (16, "teen-16-17")
