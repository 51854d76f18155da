"""A start of a machine without a battery, whose clock shows 1970: what times close is closed until the
clock is right.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.app.snapshot import kernel_is_synchronised

TABLET, CONSOLE, LAPTOP = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet], bedtime: "20:00-07:00"}
  tom: {age: 15, devices: [console], schedules: {homework: {block: roblox, when: "14:00-16:00"}}}
  ana: {profile: adult, devices: [laptop]}
devices:
  tablet: {ip: 127.0.0.2}
  console: {ip: 127.0.0.3}
  laptop: {ip: 127.0.0.4}
"""
CLOSED_BY_TIMES = ((TABLET, "school.example"), (CONSOLE, "www.roblox.com"))
OPEN_AT_ALL_TIMES = ((TABLET, "www.childline.org.uk"), (CONSOLE, "school.example"), (LAPTOP, "www.roblox.com"))
NOON = datetime(2027, 1, 8, 12, tzinfo=UTC)
TEN_PAST_NOON_IN_1970 = datetime(1970, 1, 1, 12, 10, tzinfo=UTC)
PATIENCE = 60


def reached(running: Hedgerow, net: SmallInternet, device: str, host: str) -> tuple[bool, int]:
    """Return whether the name resolves to an address, and the status of its page through the proxy."""
    page = curl(net.url(host, scheme="http"), proxy=running.proxy, source=device)
    addresses = kdig_addresses(running.dns, host, source=device)
    return bool(addresses) and addresses != ["0.0.0.0"], page.status


def told_by_api(running: Hedgerow, at: float | None = None) -> dict[str, str | None]:
    """Return the decision about a site for the tablet, by default of now."""
    token = (running.state / "admin-token").read_text().strip()
    asked = {"device": "tablet", "target": "school.example"} | ({"at": str(at)} if at is not None else {})
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(
        f"{running.web}/api/v1/explain", params=asked, headers=headers, trust_env=False, timeout=PATIENCE, verify=False
    )
    decision: dict[str, str | None] = answer.json()[0]["decision"]
    return decision


def all_say_the_same(running: Hedgerow, net: SmallInternet) -> dict[str, bool]:
    """Return, for each place that gives a reason, whether it says that it is bedtime until the clock is right."""
    told = running.run("explain", "tablet", "school.example")
    own, api = curl(f"{running.web}/device", source=TABLET).text, told_by_api(running)
    blocked = curl(net.url("school.example", scheme="http"), proxy=running.proxy, source=TABLET).text
    return {
        "command": "the internet is closed by bedtime until the clock is right" in told.stdout,
        "api": (api["verdict"], api["reason"], api["until"]) == ("block", "bedtime", None),
        "page": "It is bedtime" in own and "until the clock is right" in own,
        "block page": "It is bedtime" in blocked and "the clock is right" in blocked,
    }


@pytest.mark.skipif(
    kernel_is_synchronised(),
    reason="the kernel says that this machine's clock is synchronised, and so would be trusted",
)
def test_what_times_close_is_closed_until_the_clock_is_right(internet: SmallInternet, tmp_path: Path) -> None:
    clock = WallClock(tmp_path, NOON.timestamp())
    policy = network_section(internet) + "  country: GB\n" + PEOPLE
    home = tmp_path / "home"
    home.mkdir()
    with running_hedgerow(policy, directory=home, environment=clock.environment) as running:
        wait_until(
            lambda: [reached(running, internet, *each) for each in CLOSED_BY_TIMES] == [(True, 200)] * 2,
            PATIENCE,
            "at noon no time closes anything",
        )

    clock.set_local(TEN_PAST_NOON_IN_1970)
    with running_hedgerow(policy, directory=home, environment=clock.environment) as running:
        assert [reached(running, internet, *each) for each in CLOSED_BY_TIMES] == [(False, 403)] * 2
        assert [reached(running, internet, *each) for each in OPEN_AT_ALL_TIMES] == [(True, 200)] * 3
        assert "The clock is wrong" in running.stderr
        assert all_say_the_same(running, internet) == dict.fromkeys(("command", "api", "page", "block page"), True)
        then = told_by_api(running, at=NOON.timestamp())
        assert (then["verdict"], then["reason"]) == ("allow", "default"), "any other instant"
        clock.set_local(NOON)
        wait_until(
            lambda: [reached(running, internet, *each) for each in CLOSED_BY_TIMES] == [(True, 200)] * 2,
            PATIENCE,
            "open again",
        )
        wait_until(lambda: "The clock is right now" in running.stderr, PATIENCE)
