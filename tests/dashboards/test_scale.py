"""Pages and API in a network with thousands of devices and hundreds of people: paged, bounded, and rendered off the
event loop.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator

import httpx
import pytest
from web_server import NOW, TOKEN, Web

from hedgerow.dashboards.pages.children import MAX_CARDS
from hedgerow.dashboards.pages.context import RenderedPage
from hedgerow.dashboards.pages.device_cards import PAGE_SIZE
from hedgerow.dashboards.policy_index import LatestIndex
from hedgerow.dashboards.words.labels import hues
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy

DEVICES, PEOPLE = 1500, 120


def policy_text() -> str:
    owned = {number: [f"d{device}" for device in range(number, DEVICES // 2, PEOPLE)] for number in range(PEOPLE)}
    lines = ["network: {timezone: Europe/Lisbon}", "people:"]
    lines += [f"  p{number}: {{age: 9, devices: [{', '.join(owned[number])}]}}" for number in range(PEOPLE)]
    return (
        "\n".join([*lines, "devices:", *(f"  d{number}: {{mac: {_mac(number)!r}}}" for number in range(DEVICES))])
        + "\n"
    )


def _mac(number: int) -> str:
    return f"00:1b:63:00:{number >> 8:02x}:{number & 255:02x}"


@pytest.fixture
def large(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(policy_text())
    policy = web.control.policy()
    web.control.policy = lambda: policy  # type: ignore[method-assign]
    web.recorder.add(
        DeviceSeen(
            NOW - number,
            DeviceId(f"d{number}"),
            f"10.0.{number // 250}.{number % 250 + 1}",
            _mac(number),
            None,
            "child-8-12",
        )
        for number in range(DEVICES)
    )
    web.recorder.add(
        DeviceSeen(
            NOW - 5000,
            DeviceId(f"b8:27:eb:00:00:{number:02x}"),
            f"10.9.0.{number + 1}",
            f"b8:27:eb:00:00:{number:02x}",
            None,
            "guest",
        )
        for number in range(3)
    )
    web.recorder.flush()
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, timeout=60, verify=False) as client:
        yield client


def test_devices_are_paged_and_new_ones_found_among_all(large: httpx.Client) -> None:
    page = large.get("/devices").text
    assert page.count('class="device" id=') == PAGE_SIZE
    assert page.count("<option>p7</option>") == 1, "one list of people serves all cards"
    assert page.count("b8:27:eb:00:00:01") > 0, "seen before hundreds of others"
    assert len(page) < 300_000
    assert large.get("/devices", params={"q": "d1499"}).text.count('class="device" id=') == 1
    assert large.get("/devices", params={"q": "10.0.5.250"}).text.count('class="device" id=') == 1
    assert 'id="device-d999"' in large.get("/devices", params={"page": 999}).text


def test_a_device_is_given_to_a_person_by_name(web: Web, large: httpx.Client) -> None:
    answer = large.post(
        "/devices/change", data={"device": "d1400", "name": "d1400", "owner": "p7"}, headers={"origin": web.url}
    )
    assert answer.status_code == 303
    text = web.policy_path.read_text()
    assert re.search(r"p7: .*d1400", text)


def test_people_are_paged_and_searched(large: httpx.Client) -> None:
    assert large.get("/people").text.count('<li class="card">') == 48
    assert large.get("/people", params={"page": 3}).text.count('<li class="card">') == PEOPLE - 96
    assert large.get("/people", params={"q": "p117"}).text.count('<li class="card">') == 1
    assert "Nobody matches" in large.get("/people", params={"q": "nobody"}).text


def test_today_has_a_bounded_number_of_cards(web: Web, large: httpx.Client) -> None:
    web.ledger.pause("ana", person="p119", ends=NOW + 600)
    page = large.get("/").text
    assert page.count('<h2 id="child-') == MAX_CARDS
    assert f"{PEOPLE - MAX_CARDS} more children" in page
    assert '<a href="/people/p119"' in page, "who is paused comes first"
    assert "devices seen in the last 15 minutes" in large.get("/day").text


def test_the_api_is_paged(large: httpx.Client) -> None:
    first = large.get("/api/v1/devices", params={"limit": 600})
    assert first.headers["link"] == '</api/v1/devices?limit=600&offset=600>; rel="next"'
    found = first.json() + large.get("/api/v1/devices", params={"limit": 600, "offset": 600}).json()
    last = large.get("/api/v1/devices", params={"limit": 600, "offset": 1200})
    assert "link" not in last.headers
    assert len({row["device"] for row in found + last.json()}) == DEVICES + 3
    people = large.get("/api/v1/people", params={"limit": 50, "offset": 100})
    assert [row["name"] for row in people.json()] == [f"p{number}" for number in range(100, PEOPLE)]
    assert people.json()[0]["devices"][0] == "d100"


def test_pages_are_rendered_in_a_thread() -> None:
    async def served() -> list[dict[str, object]]:
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        page = RenderedPage(lambda: "ü" if threading.current_thread() is not threading.main_thread() else "", 200, {})
        await page({"type": "http"}, receive, send)  # type: ignore[arg-type]
        return sent

    start, body = asyncio.run(served())
    assert body["body"] == "ü".encode()
    assert (b"content-length", b"2") in start["headers"]  # type: ignore[operator]


def test_colours_of_many_people_are_found_in_one_pass() -> None:
    """With two passes over all for each, this would take minutes."""
    found = hues(f"p{number}" for number in range(50_000))
    assert len(found) == 50_000
    assert set(found.values()) == set(range(8))


def test_an_index_is_made_once_per_policy() -> None:
    latest, policy = LatestIndex(), parse_policy(policy_text().encode(), None)
    index = latest.of(policy)
    assert latest.of(policy) is index
    assert [device.id for device in index.devices_of["p7"]] == [
        f"d{number}" for number in range(7, DEVICES // 2, PEOPLE)
    ]
    assert [device.id for device in index.by_owner][:2] == ["d0", "d120"]
    assert latest.of(parse_policy(b"", None)) is not index
