"""Every switch tells what `decide` enforces, before and after each tap, for any policy and any order of pages."""

from __future__ import annotations

import html
import json
import re
import secrets
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect
from web_server import NOW, Web
from web_server.switches import SUBJECTS, ShownSwitches, decided, worker_view

from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.control import Enforcement
from hedgerow.journal.messages import ProtectionSeen
from hedgerow.policies.explain import find_device
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Device, DeviceId, Grant
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.time_model import SpentBudget

ITEMS = (
    "adult",
    "games",
    "social",
    "bypass",
    "unsafe-search",
    "new-domains",
    "video",
    "tiktok",
    "roblox",
    "youtube",
    "youtube-music",
    "youtube-shorts",
    "messenger",
    "facebook",
    "nordvpn",
    "tinder",
)
SITES = ("tiktok.com", "roblox.com", "music.youtube.com", "youtube.com/shorts")
NAMES = ("mia", "tom")
# 21:26 on a Thursday in Lisbon.
TIMES = ("21:00-22:00", "20:00-07:00", "15:00-17:00", "00:00-24:00")

subjects = st.sampled_from((*ITEMS, *SITES))
ends = st.sampled_from(("2026-01-01", "2026-05-29", "2026-12-24"))
entries = st.one_of(subjects, st.builds(lambda what, until: {"what": what, "until": until}, subjects, ends))
lists = st.lists(entries, max_size=3)
schedules = st.dictionaries(
    st.sampled_from(("homework", "dinner", "playtime")),
    st.one_of(
        st.builds(
            lambda key, what, when: {key: what, "when": when},
            st.sampled_from(("block", "allow", "only")),
            st.sampled_from(ITEMS),
            st.sampled_from(TIMES),
        ),
        st.builds(
            lambda key, when: {key: "internet", "when": when},
            st.sampled_from(("block", "allow")),
            st.sampled_from(TIMES),
        ),
    ),
    max_size=2,
)


def rules() -> st.SearchStrategy[dict[str, Any]]:
    keys: dict[str, st.SearchStrategy[Any]] = {
        "allow": lists,
        "block": lists,
        "always": st.lists(st.sampled_from(ITEMS), max_size=1),
    }
    keys |= {"schedules": schedules, "safe_search": st.sampled_from(("strict", "off"))}
    return st.fixed_dictionaries({}, optional=keys | {"bedtime": st.sampled_from(("21:00-07:00", "23:00-06:00"))})


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    profiles = ({"age": 6}, {"age": 9}, {"age": 14}, {"age": 17}, {"profile": "adult"}, {"profile": "guest"})
    people = {
        name: {**draw(st.sampled_from(profiles)), **draw(rules()), "devices": [f"{name}-phone"]} for name in NAMES
    }
    devices: dict[str, Any] = {f"{name}-phone": {"ip": f"192.168.1.{31 + place}"} for place, name in enumerate(NAMES)}
    if draw(st.booleans()):
        devices["mia-tablet"] = {"ip": "192.168.1.40", **draw(rules())}
        people["mia"]["devices"].append("mia-tablet")
    policy = {"network": {"timezone": "Europe/Lisbon"}, "people": people, "devices": devices}
    return policy | (draw(rules()) if draw(st.booleans()) else {})  # the household's


grants = st.lists(
    st.builds(
        lambda subject, who, ends: (subject, who, ends),
        st.sampled_from((*ITEMS, "tiktok.com")),
        st.sampled_from((None, "mia", "tom", "mia-phone")),
        st.sampled_from((NOW + 900, NOW + 90_000, None, NOW - 60)),
    ),
    max_size=2,
)
pauses = st.lists(
    st.tuples(st.sampled_from((None, "mia", "tom-phone")), st.sampled_from((None, NOW + 600))), max_size=1
)
budgets = st.lists(
    st.tuples(st.sampled_from(("category:games", "service:youtube", "")), st.sampled_from(NAMES)), max_size=1
)
taps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(ITEMS), st.sampled_from(("hour", "today", "good"))), max_size=4
)


def load(web: Web, policy: dict[str, Any]) -> bool:
    """Write a policy, which JSON is too. Returns False for one with mistakes, such as a schedule against itself."""
    web.policy_path.write_text(json.dumps(policy, indent=1))
    try:
        load_policy(web.policy_path)
    except PolicyError:
        return False
    return True


def set_up(web: Web, given: list[Any], paused: list[Any], spent: list[Any]) -> None:
    """Replace what earlier examples gave, paused and used up."""
    for grant in web.control.reader.grants(0.0):
        web.ledger.revoke(grant.id, "test")
    for pause in web.control.reader.pauses(0.0):
        web.ledger.resume("test", device=pause.device, person=pause.person)
    for subject, who, end in given:
        device = DeviceId(who) if who and "-" in who else None
        web.ledger.give(Grant(secrets.token_hex(8), subject, "ana", NOW - 120, end, device, None if device else who))
    for who, end in paused:
        device = DeviceId(who) if who and "-" in who else None
        web.ledger.pause("ana", device=device, person=None if device else who, ends=end)
    web.control.spent = tuple(
        SpentBudget(f"person:{name}", subject, NOW - 60, NOW + 3600, 30, Origin("test")) for subject, name in spent
    )


def assert_pages_are_true(web: Web, browser: httpx.Client) -> dict[str, ShownSwitches]:
    """Compare the page of each person with `decide`, for the person and for each of their devices."""
    policy, reader = load_policy(web.policy_path), web.control.reader
    view = worker_view(policy, NOW, reader.grants(NOW), reader.pauses(NOW), web.control.spent)
    pages = {}
    for name in NAMES:
        shown = pages[name] = ShownSwitches.of(browser, name)
        assert set(shown.by_id) == set(SUBJECTS)
        anywhere = Device(DeviceId(f"new-device-of-{name}"), policy.people[name].profile, name)
        assert false_switches(shown, decided(view, anywhere, NOW)) == {}, f"{name}: decide says otherwise"
        for device in policy.devices.values():
            if device.person == name:
                found = find_device(view.rulesets, device.id)
                assert found is not None
                assert false_switches(shown, decided(view, found, NOW), device.id) == {}, (
                    f"{device.id}: decide says otherwise"
                )
    return pages


def false_switches(shown: ShownSwitches, verdicts: dict[str, bool], device: str | None = None) -> dict[str, object]:
    return {
        id: (shown.by_id[id], shown.closures)
        for id, is_open in verdicts.items()
        if shown.is_open(id, device) is not is_open
    }


@pytest.fixture
def browser(web: Web) -> Any:
    with httpx.Client(
        base_url=web.url,
        trust_env=False,
        timeout=60,
        headers={"origin": web.url, "accept-language": "en"},
        verify=False,
    ) as client:
        yield client


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(policies(), grants, pauses, budgets, taps)
def test_switches_tell_what_decide_enforces(
    web: Web,
    browser: httpx.Client,
    policy: dict[str, Any],
    given: list[Any],
    paused: list[Any],
    spent: list[Any],
    taps: list[Any],
) -> None:
    if not load(web, policy):
        return
    set_up(web, given, paused, spent)
    pages = assert_pages_are_true(web, browser)
    for name, item, how_long in taps:
        before = pages[name].by_id[item]
        answer = browser.post(f"/people/{name}/switch", data={before.button: item, "sure": "yes", "for": how_long})
        stays_closed = answer.status_code == 200 and "Still closed" in answer.text
        assert answer.status_code == 303 or stays_closed, answer.text
        pages = assert_pages_are_true(web, browser)
        assert not (stays_closed and pages[name].is_open(item)), "the page says that it stays closed"
        after = pages[name].by_id[item]
        if before.button == "open" and how_long != "good":
            assert pages[name].is_open(item) or pages[name].is_closed() or after.notes, (
                "an hour opens it, or the page says why not"
            )
        else:
            assert after.is_on is not before.is_on or after.notes, "a tap has an effect, or the page says why not"


def test_a_change_is_confirmed_with_the_state_of_the_enforcement_points(web: Web, browser: httpx.Client) -> None:
    answer = browser.post("/people/tom/switch", data={"close": "youtube"})
    page = browser.get(answer.headers["location"]).text
    assert 'data-done="YouTube closed for tom."' in page
    web.control.enforced = Enforcement(("proxy",))
    page = browser.get(answer.headers["location"]).text
    assert "Saved, but not in force yet: pages still follow the rules of before." in page
    web.control.enforced = Enforcement(("proxy",), "No space left on device", is_written=False)
    page = browser.get(answer.headers["location"]).text
    assert "Saved, but not in force yet: it cannot be written (No space left on device)." in page
    web.control.enforced = Enforcement((), "No space left on device")
    page = browser.get(answer.headers["location"]).text
    assert "In force until the next restart: it cannot be saved (No space left on device)." in page


def test_rules_that_cannot_work_yet_say_what_is_missing(web: Web, browser: httpx.Client) -> None:
    policy = {
        "network": {"timezone": "Europe/Lisbon"},
        "people": {
            "mia": {
                "age": 9,
                "devices": ["tablet", "laptop"],
                "block": ["youtube-shorts", "example.org/games", "new-domains"],
            }
        },
        "devices": {"tablet": {"ip": "192.168.1.31"}, "laptop": {"ip": "192.168.1.32", "trusts_ca": True}},
    }
    assert load(web, policy)
    missing = "does not work yet on tablet and laptop: pages are not checked there"
    shown = ShownSwitches.of(browser, "mia")
    assert missing in shown.by_id["youtube-shorts"].notes
    assert "blocks nothing yet: no list says which sites these are" in shown.by_id["new-domains"].notes
    sites = browser.get("/people/mia/sites").text
    rule = sites.partition("<main")[2].partition("example.org/games")[2].partition("</li>")[0]
    assert f'{missing} <a href="/certificate?device=tablet">Make it work</a>' in rule
    web.recorder.add(
        [ProtectionSeen(NOW, DeviceId("laptop"), each) for each in (Protection.PROXY, Protection.CERTIFICATE)]
    )
    web.recorder.flush()
    notes = ShownSwitches.of(browser, "mia").by_id["youtube-shorts"].notes
    assert "does not work yet on tablet: pages are not checked there" in notes


# 21:26 in Lisbon.
GAME_TIME = {
    "network": {"timezone": "Europe/Lisbon"},
    "people": {
        "mia": {
            "age": 9,
            "devices": ["tablet"],
            "allow": ["tiktok"],
            "schedules": {
                "evening": {"block": "games", "when": "21:00-22:00"},
                "chat time": {"allow": "discord", "when": "21:00-22:00"},
            },
        }
    },
    "devices": {"tablet": {"ip": "192.168.1.31"}},
}


@pytest.fixture
def game_time(web: Web, browser: httpx.Client) -> httpx.Client:
    assert load(web, GAME_TIME)
    set_up(web, [], [], [])
    return browser


def tap(browser: httpx.Client, item: str, **more: str) -> str:
    """Tap a switch as the page has it, and return the page that follows."""
    button = ShownSwitches.of(browser, "mia").by_id[item].button
    answer = browser.post("/people/mia/switch", data={button: item, "sure": "yes", **more}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def test_what_a_schedule_closes_is_off_and_a_tap_opens_it_until_the_schedule_ends(
    web: Web, game_time: httpx.Client
) -> None:
    before, shown = web.policy_path.read_text(), ShownSwitches.of(game_time, "mia").by_id["minecraft"]
    assert (shown.is_on, shown.notes[0]) == (False, "closed until 22:00: evening")
    assert "Minecraft open for mia until 22:00." in tap(game_time, "minecraft")
    assert ShownSwitches.of(game_time, "mia").by_id["minecraft"].is_on
    assert web.policy_path.read_text() == before
    assert "Minecraft closed for mia." in tap(game_time, "minecraft")
    shown = ShownSwitches.of(game_time, "mia").by_id["minecraft"]
    assert (shown.is_on, shown.notes[0]) == (False, "closed until 22:00: evening")
    assert web.policy_path.read_text() == before


def test_what_a_schedule_opens_is_on_and_a_tap_says_that_it_stays_open(web: Web, game_time: httpx.Client) -> None:
    before, shown = web.policy_path.read_text(), ShownSwitches.of(game_time, "mia").by_id["discord"]
    assert (shown.is_on, shown.notes[0]) == (True, "open until 22:00: chat time")
    assert "Discord is still open for mia: its switch says why." in tap(game_time, "discord")
    assert web.policy_path.read_text() == before


def test_after_a_tap_the_page_offers_it_for_an_hour_or_for_today(web: Web, game_time: httpx.Client) -> None:
    before = load_policy(web.policy_path)
    for item, button in (("instagram", "open"), ("spotify", "close"), ("tiktok", "close")):
        page = tap(game_time, item)
        change = re.search(r'name="instead_of" value="(\d+)"', page)
        assert change is not None
        data = {button: item, "instead_of": change[1], "for": "hour", "sure": "yes"}
        page = game_time.post("/people/mia/switch", data=data, follow_redirects=True).text
        assert f"{'open' if button == 'open' else 'closed'} for mia until" in page
        shown = ShownSwitches.of(game_time, "mia").by_id[item]
        assert shown.is_on is (button == "open")
        assert shown.notes[0].startswith(f"{'open' if shown.is_on else 'closed'} until 22:2")
    after = load_policy(web.policy_path).people["mia"].rules
    assert [target.name for target in after.allow] == [target.name for target in before.people["mia"].rules.allow]
    assert {target.name for target in after.block if target.until} == {"spotify", "tiktok"}


@pytest.mark.browser
def test_only_for_an_hour_is_one_touch_after_the_tap(web: Web, game_time: httpx.Client, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="de")
    page = context.new_page()
    page.goto(f"{web.url}/people/mia/services?group=music")
    page.locator("#switch-spotify button").tap()
    said = page.locator(".toast .said")
    expect(said).to_contain_text("Spotify")
    for button in said.locator("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 36
    said.get_by_role("button", name="Nur eine Stunde").tap()
    expect(said).to_contain_text("bis")
    expect(page.locator("#switch-spotify button")).to_have_attribute("aria-checked", "false")
    context.close()
