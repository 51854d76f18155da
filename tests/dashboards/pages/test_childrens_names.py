"""Names on a child's own page, with the default privacy: what a child may read, and nothing that harms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from web_server import NOW, Web

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.words.childrens_names import may_read, unnamed
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.host_facts import Services, service_ages
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

ADDRESS = "127.0.0.2"
HOUSE = """\
network: {timezone: Europe/Lisbon, country: GB}
people:
  Zoe: {age: 6, devices: [zoe-tablet], block: [pornhub.com]}
  Mia:
    age: 9
    devices: [mia-tablet]
    block: [tiktok, pornhub.com, www.reddit.com, {what: xvideos.com, until: 2026-06-01}]
    allow: [{what: school.example, until: 2026-06-01}]
    schedules:
      homework: {when: "15:00-17:00", block: [roblox, xhamster.com]}
      evening: {when: "18:00-19:00", block: [youporn.com]}
  Tom: {age: 13, devices: [tom-phone], block: [pornhub.com, reddit]}
  Eva: {age: 16, devices: [eva-phone], block: [pornhub.com]}
devices:
  zoe-tablet: {ip: 192.168.1.30}
  mia-tablet: {ip: 192.168.1.31}
  tom-phone: {ip: 192.168.1.32}
  eva-phone: {ip: 192.168.1.33}
"""
VIEWS = {
    "Zoe": ("zoe-tablet", "child-under-8"),
    "Mia": ("mia-tablet", "child-8-12"),
    "Tom": ("tom-phone", "teen-13-15"),
    "Eva": ("eva-phone", "teen-16-17"),
}
TEENS = ("Tom", "Eva")
"""Their profiles keep no hosts."""

DAY = (
    ("candy.ai", Reason.SERVICE, "candy-ai"),
    ("crushon.ai", Reason.CATEGORY, "ai-chat"),
    ("nitter.net", Reason.SERVICE, "x-front-ends"),
    ("civitai.com", Reason.SERVICE, "civitai"),
    ("pornhub.com", Reason.RULE, "pornhub.com"),
    ("www.tiktok.com", Reason.SERVICE, "tiktok"),
    ("www.roblox.com", Reason.SERVICE, "roblox"),
    ("chess.example", Reason.CATEGORY, "games"),
)
NIGHT = (Reason.BEDTIME, "bedtime"), (Reason.PAUSE, "pause"), (Reason.SCHEDULE, "evening"), (Reason.CATEGORY, "adult")
HARSH = re.compile(
    "porn|xvideos|xhamster|candy|crushon|civitai|nitter|janitor|kiwi farms|another machine|any IP address|fetch a page",
    re.IGNORECASE,
)


@pytest.fixture
def child(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(HOUSE)
    for name in VIEWS:
        web.recorder.add(observation(name, NOW - 40_000, *block) for block in DAY)
        web.recorder.add(
            observation(name, NOW - 30_000 + number, f"night-{number}.example", *NIGHT[number % len(NIGHT)])
            for number in range(1200)
        )
        web.recorder.add(
            observation(name, NOW - 20_000 + number, f"{number}.pornhub.com", Reason.RULE, "pornhub.com")
            for number in range(1200)
        )
        web.recorder.add(
            observation(name, NOW - 10_000 + number, f"192.0.2.{number % 250}", Reason.BYPASS, "ip-address")
            for number in range(1200)
        )
    web.recorder.flush()
    transport = httpx.HTTPTransport(local_address=ADDRESS, verify=False)
    headers = {"origin": web.url, "accept-language": "en"}
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=headers) as client:
        yield client


def observation(name: str, at: float, host: str, reason: Reason, what: str) -> Observation:
    device, profile = VIEWS[name]
    host = "" if name in TEENS else host
    return Observation(at, DeviceId(device), name, profile, RequestKind.DNS, Verdict.BLOCK, reason, what, host)


def opens(web: Web, child: httpx.Client, name: str) -> str:
    """Return the own page of a child."""
    device, profile = VIEWS[name]
    web.control.devices[ADDRESS] = DeviceView(DeviceId(device), name, profile)
    return child.get("/device").text


def text_of(page: str) -> str:
    main = re.sub(r"</?bdi[^>]*>", "", page.partition("<main")[2])
    return " ".join(re.sub(r"<[^>]+>", " ", main).split())


@pytest.mark.parametrize("name", VIEWS)
def test_after_a_night_a_child_still_reads_what_was_closed_by_day_and_nothing_that_harms(
    web: Web, child: httpx.Client, name: str
) -> None:
    page = opens(web, child, name)
    text = text_of(page)
    assert not HARSH.findall(page)
    assert "Roblox" in text
    assert "night-" not in text


@pytest.mark.parametrize("name", TEENS)
def test_a_teenagers_row_names_the_service_without_its_host(web: Web, child: httpx.Client, name: str) -> None:
    rows = text_of(opens(web, child, name)).partition("What was closed lately")[2]
    assert "Roblox closed at this time" in rows
    assert "TikTok" in rows


@pytest.mark.parametrize("name", ["Mia", "Tom"])
def test_what_a_schedule_or_homework_closed_does_not_open_with_age(web: Web, child: httpx.Client, name: str) -> None:
    rows = text_of(opens(web, child, name)).partition("What was closed lately")[2]
    assert "Roblox closed at this time" in rows
    assert "TikTok Closed by your parents" in rows or name == "Tom"


def test_rules_and_dues_name_what_may_be_read(web: Web, child: httpx.Client) -> None:
    rules = text_of(opens(web, child, "Mia")).partition("Open and closed for me")[2]
    assert "Closed: Roblox, " in rules
    assert "evening" not in rules
    assert "Closed by your parents TikTok, www.reddit.com " in rules
    assert "school.example" in rules, "what is open is named"


def test_a_small_child_is_asked_for_apps_that_may_be_named(web: Web, child: httpx.Client) -> None:
    page = opens(web, child, "Zoe")
    assert set(re.findall(r'name="site" value="([^"]+)"', page)) == {"www.tiktok.com", "www.roblox.com"}


@pytest.mark.parametrize("name", VIEWS)
def test_a_child_of_any_age_is_told_what_ends_soon(web: Web, child: httpx.Client, name: str) -> None:
    web.time.ending = (UpcomingEnd(VIEWS[name][0], Reason.BEDTIME, "bedtime", 5, NOW + 300),)
    assert "5 minutes until the internet closes." in text_of(opens(web, child, name))


def test_no_service_for_adults_and_no_site_of_unknown_kind_may_be_read() -> None:
    services, ages = Services.load().by_id, service_ages()
    read = [services[id] for id in services if may_read(id)]
    assert len(read) > 100
    assert not [each.id for each in read if ages[each.id].open_from >= 18]
    assert not {each.group for each in read} & {"dating", "random-chat", "vpn", "mirrors"}
    assert not [domain for id in unnamed() & services.keys() for domain in services[id].domains if may_read(domain)]
    assert not any(
        map(may_read, ("x.example", "pornhub.com", "https://www.reddit.com/r/nsfw/", "adult", "illegal", ""))
    )
