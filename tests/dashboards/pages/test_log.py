"""Activity by service and site, the box *Why doesn't … work*, and explanations of old rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import httpx
import pytest
from web_server import NOW, TOKEN, Web
from web_server.household import POLICY

from hedgerow.dashboards.control import WebNames
from hedgerow.dashboards.pages.activity_groups import OWN_NAMES, group_activity, periods, services_named
from hedgerow.dashboards.words.labels import zone
from hedgerow.journal.activity import HostActivity
from hedgerow.journal.rule_versions import ListVersion, RuleVersions
from hedgerow.policies.host_facts import background_kind
from hedgerow.policies.model import DeviceId, Grant, Observation, Reason, RequestKind, Verdict

MIA, TOM = DeviceId("mia-tablet"), DeviceId("tom-phone")


def seen(
    host: str,
    ago: float = 60,
    verdict: Verdict = Verdict.ALLOW,
    reason: Reason = Reason.DEFAULT,
    what: str = "",
    rule: str = "",
    version: int = 0,
    person: str = "mia",
) -> Observation:
    device = MIA if person == "mia" else TOM
    return Observation(
        NOW - ago, device, person, "child-8-12", RequestKind.DNS, verdict, reason, what, host, "", rule, 1, version
    )


@pytest.fixture
def parent(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(POLICY)
    with httpx.Client(
        base_url=web.url,
        headers={"origin": web.url, "authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=60,
        verify=False,
    ) as client:
        yield client


def record(web: Web, *rows: Observation) -> None:
    web.recorder.add(rows)
    web.recorder.flush()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2].partition("</main>")[0]).split())


def groups(page: str) -> list[str]:
    """Return the titles of services, sites and folded lines in their order."""
    listing = page.partition('<ul class="activity">')[2]
    return re.findall(r'<span><b>(?:<span class="app[^>]*>[^<]*</span> )?(?:<bdi>)?(.*?)(?:</bdi>)?</b>', listing)


def part(host: str, person: str | None = "mia", verdict: Verdict = Verdict.ALLOW, what: str = "") -> HostActivity:
    return HostActivity(host, person, "tab", verdict, Reason.DEFAULT, what, 2, NOW, 1)


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("www.youtube.com", "YouTube"),
        ("i.ytimg.com", "YouTube"),
        ("news.bbc.co.uk", "bbc.co.uk"),
        ("192.0.2.7", "192.0.2.7"),
        ("clients2.google.com", "updates"),
        ("connectivitycheck.gstatic.com", "connectivity-checks"),
        ("7.2.0.192.in-addr.arpa", "lookups"),
        ("content-autofill.googleapis.com", "parts"),
        ("youtubei.googleapis.com", "YouTube"),
        ("crl3.digicert.com", "certificates"),
        ("check.pages.home.example", OWN_NAMES),
        ("", ""),
    ],
)
def test_each_host_has_a_group(host: str, group: str) -> None:
    grouped = group_activity([part(host)], {"pages.home.example"}, 40)
    assert [
        each.name
        for each in (*grouped.groups, *grouped.background, *([grouped.private] if grouped.private.parts else []))
    ] == [group]


def test_advertising_is_background() -> None:
    grouped = group_activity(
        [part("ads.shop.example", verdict=Verdict.BLOCK, what="ads-trackers"), part("www.shop.example")], (), 40
    )
    assert ([each.key for each in grouped.groups], [each.key for each in grouped.background]) == (
        ["shop.example"],
        ["ads-trackers"],
    )
    assert background_kind("ads.shop.example") is None


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("youtube", "youtube"),
        ("You Tube", "youtube"),
        ("tik", "tiktok"),
        ("TIKTOK", "tiktok"),
        ("", None),
        ("??", None),
        ("zzzz", None),
    ],
)
def test_services_are_found_by_a_part_of_their_name(text: str, first: str | None) -> None:
    assert next((each.id for each in services_named(text)), None) == first


def test_days_follow_the_local_midnight_also_when_clocks_change() -> None:
    # 29 March 2026 has 23 hours in Lisbon.
    choices = periods(1_774_828_800.0, zone("Europe/Lisbon"))
    assert [(each.value, (each.before - each.since) / 3600) for each in choices[:2]] == [
        ("2026-03-30", 24),
        ("2026-03-29", 23),
    ]
    assert (choices[-1].since, choices[-1].before) == (choices[6].since, choices[0].before)


def test_activity_is_grouped_and_background_is_folded_into_one_line(web: Web, parent: httpx.Client) -> None:
    web.control.names = lambda: WebNames(frozenset({"pages.home.example"}))  # type: ignore[method-assign]
    record(
        web,
        seen("clients2.google.com"),
        seen("pages.home.example"),
        seen("www.youtube.com", 300),
        seen("i.ytimg.com", 200),
        seen("www.bet.example", 100, Verdict.BLOCK, Reason.CATEGORY, "gambling"),
        seen("de.wikipedia.org", 400, person="tom"),
        seen("", 500, Verdict.BLOCK, Reason.CATEGORY, "adult", person="tom"),
    )
    page = parent.get("/log").text
    assert groups(page) == ["bet.example", "YouTube", "wikipedia.org", "Sites that are not kept", "In the background"]
    assert "clients2.google.com" not in page.partition("In the background")[0]
    text = text_of(page)
    for words in (
        "bet.example 1 blocked mia",
        "It belongs to Gambling, which is closed here.",
        "Updates",
        "pages.home.example",
        "It belongs to Pornography and other adult sites, which is closed here.",
    ):
        assert words in text, words
    assert groups(parent.get("/log", params={"person": "tom"}).text) == ["wikipedia.org", "Sites that are not kept"]
    assert groups(parent.get("/log", params={"device": MIA, "verdict": "block"}).text) == ["bet.example"]
    assert "nothing to show" in text_of(parent.get("/log", params={"person": "Ana"}).text).lower()
    assert "www.youtube.com" in parent.get("/log/raw").text


def test_search_finds_parts_of_names_and_services(web: Web, parent: httpx.Client) -> None:
    record(web, seen("i.ytimg.com"), seen("de.wikipedia.org", 90, person="tom"), seen("unrelated.example", 3600))
    record(web, seen("m.youtube.com", 30))
    for text in ("tube", "YouTube", "youtube.com", "ytimg"):
        assert groups(parent.get("/log", params={"host": text}).text) == ["YouTube"], text
    assert groups(parent.get("/log", params={"host": "ikiped"}).text) == ["wikipedia.org"]
    assert groups(parent.get("/log", params={"host": "%"}).text) == []


def test_a_day_shows_its_own_activity(web: Web, parent: httpx.Client) -> None:
    record(web, seen("yesterday.example", 86400), seen("today.example"))
    assert groups(parent.get("/log").text) == ["today.example"]
    assert groups(parent.get("/log?day=2026-05-27").text) == ["yesterday.example"]
    assert groups(parent.get("/log?day=week").text) == ["today.example", "yesterday.example"]
    assert groups(parent.get("/log?day=1970-01-01").text) == ["today.example"]


def test_a_service_that_does_not_work_is_explained_and_allowed_at_once(web: Web, parent: httpx.Client) -> None:
    web.policy_path.write_text(
        POLICY.replace('    bedtime: {school-nights: "20:30-07:00", weekend: "21:30-08:00"}\n', "")
    )
    record(
        web,
        seen("www.roblox.com", 600, Verdict.BLOCK, Reason.SERVICE, "roblox"),
        seen("cdn.game.example", 60, Verdict.BLOCK, Reason.RULE),
    )
    page = parent.get("/why", params={"who": "person:mia", "target": "Roblox"})
    text = text_of(page.text)
    assert "Roblox · mia · now blocked Roblox is closed here." in text
    assert "www.roblox.com" in text.partition("Blocked lately")[2].partition("Other sites")[0]
    assert "cdn.game.example" in text.partition("Other sites blocked in the last 15 minutes")[2]
    form = {"subject": "roblox", "person": "mia", "device": "", "for": "hour", "who": "person:mia", "target": "roblox"}
    assert 'name="subject" value="roblox"' in page.text
    then = parent.post("/grants/new", data=form, follow_redirects=True)
    assert "Roblox · mia · now allowed Somebody allowed Roblox." in text_of(then.text)


def test_something_dangerous_is_asked_about_once(web: Web, parent: httpx.Client) -> None:
    web.policy_path.write_text(
        POLICY.replace('    bedtime: {school-nights: "20:30-07:00", weekend: "21:30-08:00"}\n', "")
    )
    form = {
        "subject": "pokerstars.com",
        "person": "mia",
        "device": "",
        "for": "hour",
        "who": "person:mia",
        "target": "pokerstars.com",
    }
    question = parent.post("/grants/new", data=form)
    assert question.status_code == 200
    assert "mia" in text_of(question.text)
    assert not web.control.reader.grants(NOW)
    answer = parent.post("/grants/new", data={**form, "sure": "1"}, follow_redirects=True)
    assert [grant.subject for grant in web.control.reader.grants(NOW)] == ["pokerstars.com"]
    assert "pokerstars.com · mia · now" in text_of(answer.text)


def test_a_private_persons_rules_are_explained_without_their_history(web: Web, parent: httpx.Client) -> None:
    web.policy_path.write_text(POLICY.replace("tom: {age: 15,", "tom: {age: 15, block: [tiktok], privacy: category,"))
    record(web, seen("www.tiktok.com", 60, Verdict.BLOCK, Reason.SERVICE, "tiktok", person="tom"))
    text = text_of(parent.get("/why", params={"who": "person:tom", "target": "tiktok"}).text)
    assert "TikTok · tom · now blocked TikTok is closed here." in text
    assert "The log of tom is private" in text
    assert "www.tiktok.com" not in text.partition("Blocked lately")[2]


def test_a_closure_is_named_with_what_would_open(web: Web, parent: httpx.Client) -> None:
    page = parent.get("/why", params={"who": "person:mia", "target": "scratch.mit.edu"}).text
    assert "bedtime" in text_of(page)
    assert "/people/mia/nights" in page
    assert "Allowing it alone changes nothing while this holds" in page
    web.policy_path.write_text(
        POLICY.replace('    bedtime: {school-nights: "20:30-07:00", weekend: "21:30-08:00"}\n', "")
    )
    web.ledger.pause("Ana", person="mia")
    paused = parent.get("/why", params={"who": "person:mia", "target": "scratch.mit.edu"}).text
    assert "Resume mia" in text_of(paused)
    assert 'action="/grants/new"' not in paused


def test_a_bad_question_is_shown_again_with_its_problem(web: Web, parent: httpx.Client) -> None:
    for who, target, problem in (
        ("person:mia", "my game", "No site and no known service is called 'my game'"),
        ("person:mia", "gambling", "is a topic"),
        ("person:mia", "", "No site and no known service"),
        ("person:nobody", "tiktok", "Choose a person or a device"),
        ("nonsense", "tiktok", "Choose a person or a device"),
        ("device:nowhere", "tiktok", "There is no device"),
    ):
        answer = parent.get("/why", params={"who": who, "target": target})
        assert answer.status_code == 422, (who, target)
        text = unescape(answer.text)
        assert problem in text
        assert f'name="target" value="{target}"' in text


def test_several_services_are_offered(web: Web, parent: httpx.Client) -> None:
    page = parent.get("/why", params={"who": "person:mia", "target": "tube"}).text
    assert "Which one?" in page
    assert "target=youtube" in page


def test_an_old_row_is_explained_by_the_rules_of_then(web: Web, parent: httpx.Client) -> None:
    versions, place = RuleVersions(web.engine), str(web.policy_path)
    lists = (ListVersion("starter/adult", "adult", NOW - 10 * 86400, 117),)
    old = versions.record(
        NOW - 7200, "p1", "l1", {place: "people:\n  mia:\n    bedtime: 19:00-07:00\n    age: 9\n"}, lists
    )
    record(
        web,
        seen("a.example", 3600, Verdict.BLOCK, Reason.BEDTIME, "bedtime", f"{place}:3", old),
        seen("b.example", 3500, Verdict.BLOCK, Reason.CATEGORY, "adult", "starter/adult", old),
        seen("c.example", 3400, Verdict.BLOCK, Reason.PAUSE, "", "", old),
        seen("d.example", 3300, Verdict.ALLOW, Reason.GRANT, "d.example", "", old),
        seen("e.example", 9000, Verdict.BLOCK, Reason.RULE, "e.example", f"{place}:9"),
        seen("f.example", 3200, Verdict.BLOCK, Reason.RECOGNISED, "new-domains", "registered 2026-11-26", old),
    )
    web.ledger.give(Grant("g", "d.example", "Ana", NOW - 3700, NOW - 10, MIA))
    versions.record(NOW - 60, "p2", "l1", {place: "people: {}"}, lists)
    with web.engine.begin() as connection:
        pause = (
            "INSERT INTO pauses (id, site, actor, note, starts, ends, person) VALUES ('p', 'home', 'Bea', '', ?, ?,"
            " 'mia')"
        )
        connection.exec_driver_sql(pause, (NOW - 3450, NOW - 3350))
    bedtime, listed, paused, granted, older, new = (
        text_of(parent.get("/why", params={"row": row}).text) for row in range(1, 7)
    )
    assert "bedtime: 19:00-07:00" in bedtime
    assert "version 1, in force since" in bedtime
    assert "changed since then" in bedtime
    assert "20:30" in text_of(parent.get("/why", params={"device": MIA, "target": "a.example"}).text), (
        "today's bedtime is another one"
    )
    assert "starter/adult · as of 18 May" in listed.replace("  ", " ")
    assert "by Bea" in paused
    assert "by Ana" in granted
    assert "older than the record of versions" in older
    assert "registered on 26 Nov 2026" in new
    assert parent.get("/why?row=99").status_code == 422


def test_the_page_of_a_large_household_counts_the_newest_entries(web: Web, parent: httpx.Client) -> None:
    rows = [
        replace(seen(f"www.site-{number % 700}.example", 10 + number), device=DeviceId(f"d-{number % 60}"))
        for number in range(25_000)
    ]
    record(web, *rows)
    page = parent.get("/log").text
    assert "only the newest entries are counted" in text_of(page)
    assert len(groups(page)) == 40
    assert "Show all 700" in page
