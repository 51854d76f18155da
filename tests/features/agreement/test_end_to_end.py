"""What is recorded is raised in the file while Hedgerow is off: told first, in force once a day was seen passing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from html import unescape
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

PHONE, PATIENCE = "127.0.0.3", 90.0
PEOPLE = "\npeople: {{tom: {{age: 15, devices: [phone]{more}}}}}\ndevices: {{phone: {{ip: 127.0.0.3}}}}\n"
COUNTS = "Only the topic or service that was blocked."
SITES = "The names of the sites requested, not the pages"


def _own_page(house: Hedgerow) -> str:
    transport = httpx.HTTPTransport(local_address=PHONE, verify=False)
    with httpx.Client(base_url=house.web, transport=transport, trust_env=False, timeout=60) as phone:
        return unescape(phone.get("/device").text)


def _let_pass_all_but_a_second(place: Path) -> None:
    """Write to the journal that almost a day was seen passing, while Hedgerow is off."""
    (journal,) = place.rglob("journal.sqlite")
    with closing(sqlite3.connect(journal)) as database, database:
        assert database.execute("UPDATE rules_told SET begins_at = raised_at + 1").rowcount == 1


@pytest.mark.service
def test_what_was_raised_while_hedgerow_was_off_is_told_before_it_begins(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    place = tmp_path / "house"
    place.mkdir()
    before, after = (network_section(whole_internet) + PEOPLE.format(more=more) for more in ("", ", privacy: domain"))
    with running_hedgerow(before, directory=place) as house:
        wait_until(lambda: COUNTS in _own_page(house), PATIENCE)
    with running_hedgerow(after, directory=place) as house:
        wait_until(lambda: "More is stored about you, beginning" in _own_page(house), PATIENCE)
        assert COUNTS in _own_page(house)
        assert "tom" in house.run("explain", "phone", "news.example").stdout
    _let_pass_all_but_a_second(place)
    with running_hedgerow(after, directory=place) as house:
        wait_until(lambda: SITES in _own_page(house), PATIENCE)
        page = _own_page(house)
        assert "More is stored about you, beginning" not in page
        assert COUNTS not in page
        wait_until(lambda: "From now on" in _own_page(house), PATIENCE)
