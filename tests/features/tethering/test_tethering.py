"""The owner of a device that forwards is told, and says once that it is meant to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_server import Web, running_web

from hedgerow.dashboards.notices import Notice
from hedgerow.dashboards.words.languages import language
from hedgerow.features.tethering.watch import TetheringWatch
from hedgerow.policies.reading.load import parse_policy

LAPTOP = "02:00:00:00:77:0a"
"""It has forwarded in the web server of tests."""
FAMILY = f"""\
people:
  mia: {{age: 9}}
  ana: {{profile: adult, devices: [laptop]}}
devices:
  laptop: {{mac: "{LAPTOP}"}}
"""


def noted(policy: str, *instants: float) -> list[Notice]:
    """Return the notices about a device that is reported to forward at these instants."""
    found: list[Notice] = []
    now = 0.0
    watch = TetheringWatch(lambda: parse_policy(policy.encode(), None), found.extend, clock=lambda: now)
    for now in instants:
        watch.note(LAPTOP, now)
        watch.note(LAPTOP, now)  # control has started again
        watch.note(LAPTOP, now - 3600)
    return found


@pytest.mark.parametrize(
    ("policy", "instants", "is_told"),
    [
        (FAMILY, (0,), False),  # such as an address that changes hands
        (FAMILY, (0, 30), True),
        (FAMILY, (0, 3600), False),
        (f"network: {{unknown_devices: adult}}\n{FAMILY.replace('age: 9', 'profile: adult')}", (0, 30), False),
        (FAMILY.replace('0a"}', '0a", tethers: true}'), (0, 30), False),
    ],
)
def test_the_owner_is_told_once_it_goes_on(policy: str, instants: tuple[float, ...], is_told: bool) -> None:
    notices = noted(policy, *instants)
    assert [notice.key for notice in notices] == (["laptop tethers"] if is_told else [])
    assert all("laptop passes on" in notice.text(language("en")) for notice in notices)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.policy_path.write_text(FAMILY)
        yield running


def test_one_tap_says_that_it_is_meant_to(web: Web) -> None:
    with httpx.Client(
        base_url=web.url, headers={"origin": web.url}, trust_env=False, verify=False, timeout=60
    ) as parent:
        for page in ("/", "/devices"):
            assert "passes on what other devices send" in parent.get(page).text
        assert parent.post("/devices/laptop/tethers", data={"tethers": "yes"}).status_code == 303
        assert f'laptop: {{mac: "{LAPTOP}", tethers: true}}' in web.policy_path.read_text()
        assert "passes on what other" not in parent.get("/").text
        assert 'name="tethers" value="no"' in parent.get("/devices").text
        assert parent.post("/devices/laptop/tethers", data={"tethers": "no"}).status_code == 303
        assert "tethers" not in web.policy_path.read_text()
