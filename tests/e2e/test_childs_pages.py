"""A child's own page, the block page and `hedgerow explain` of a running Hedgerow: they agree, and name nothing that
harms.
"""

from __future__ import annotations

from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

TABLET, PHONE, TOY = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PEOPLE = """
people:
  mia: {profile: child-8-12, devices: [tablet], budget: 1h, chores: {tidy up: 10m}}
  tom: {age: 13, devices: [phone], block: [pornhub.com], schedules: {homework: {block: [roblox], when: every-day}}}
  zoe: {age: 6, devices: [toy], budget: 1h, chores: {tidy up: 10m}}
schedules:
  default: {block: internet, when: every-day, unless: chores}
devices:
  tablet: {ip: 127.0.0.2}
  phone: {ip: 127.0.0.3}
  toy: {ip: 127.0.0.4}
"""
PATIENCE = 30


def page_of(running: Hedgerow) -> str:
    return curl(f"{running.web}/device", source=PHONE).text


def rows_of(page: str) -> str:
    """Return the section of what was closed lately."""
    return page.partition('id="blocks-title"')[2].partition("</section>")[0]


def test_a_childs_pages_agree_and_name_nothing_that_harms(internet: SmallInternet, tmp_path: Path) -> None:
    policy = network_section(internet) + "  country: GB\n" + PEOPLE
    with running_hedgerow(policy, directory=tmp_path) as running:
        told = running.run("explain", "tablet", "school.example").stdout
        own = curl(f"{running.web}/device", source=TABLET).text
        blocked = curl(internet.url("school.example", scheme="http"), proxy=running.proxy, source=TABLET).text
        assert "the internet is closed by the schedule default" in told
        assert not [each for each in (told, own, blocked) if "clock is right" in each]
        assert "Your parents closed the internet" in own
        assert "Your parents" in blocked, "also without an age"

        own = curl(f"{running.web}/device", source=TOY).text
        blocked = curl(internet.url("school.example", scheme="http"), proxy=running.proxy, source=TOY).text
        assert "Break time!" in own
        assert "Break time!" in blocked

        for host in ("pornhub.com", "candy.ai", "www.roblox.com", "www.roblox.com"):
            assert kdig_addresses(running.dns, host, source=PHONE) == ["0.0.0.0"]
        wait_until(lambda: "Roblox" in rows_of(page_of(running)), PATIENCE)
        page = page_of(running)
        rows = rows_of(page)
        assert "closed at this time" in rows
        assert "Open when you are older" not in rows
        assert not [name for name in ("pornhub", "Candy", "candy") if name in page]
