"""Minutes of use: background traffic is none, and every page, report, command and metric tells the same number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

MIA, TOM = "127.0.0.2", "127.0.0.3"
PEOPLE = """
people:
  mia: {age: 9, privacy: domain, devices: [mia-tablet], budget: 4m}
  tom: {age: 10, privacy: domain, devices: [tom-phone], block: [tiktok], budget: {every-day: 1h, education: 1h}}
devices:
  mia-tablet: {ip: 127.0.0.2}
  tom-phone: {ip: 127.0.0.3}
"""
BACKGROUND = (
    "content-autofill.googleapis.com",
    "fonts.googleapis.com",
    "lh3.googleusercontent.com",
    "connectivitycheck.gstatic.com",
    "captive.apple.com",
    "mtalk.google.com",
    "1-courier.push.apple.com",
    "clients2.google.com",
    "v10.events.data.microsoft.com",
    "incoming.telemetry.mozilla.org",
    "time.apple.com",
    "ocsp.sectigo.com",
    "crl3.digicert.com",
    "r3.o.lencr.org",
)
FOUR = datetime(2027, 1, 8, 16, tzinfo=UTC).timestamp()
PATIENCE = 60


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path, FOUR + 5)


@pytest.fixture
def running(internet: SmallInternet, clock: WallClock) -> Iterator[Hedgerow]:
    policy = network_section(internet) + "  country: GB\n" + PEOPLE
    with running_hedgerow(policy, environment=clock.environment) as each:
        yield each


def test_every_place_tells_the_same_minutes_and_background_traffic_is_none(running: Hedgerow, clock: WallClock) -> None:
    with httpx.Client(
        base_url=running.web, cookies=running.cookies, trust_env=False, timeout=PATIENCE, verify=False
    ) as web:

        def used(name: str) -> int:
            return next(int(row["used"]) for row in web.get("/api/v1/budgets").json() if row["whose"] == name)

        def ask(source: str, *names: str) -> None:
            for name in names:
                assert kdig(running.dns, name, source=source) is not None

        used("mia")  # control loads its pages with the first request for one
        counted = (1, 1, 3, 4)
        for minute, names in enumerate((["www.youtube.com", "i.ytimg.com"], [], [], ["www.youtube.com", "youtu.be"])):
            clock.set(FOUR + 60 * minute + 5)
            ask(MIA, *names, *BACKGROUND)
            ask(TOM, *BACKGROUND, "www.wikipedia.org", "www.tiktok.com", "v16.tiktokcdn.com")
            if names:
                wait_until(lambda: used("mia") == counted[minute], PATIENCE, f"minute {minute}")  # noqa: B023

        def activity() -> str:
            return web.get("/log").text

        wait_until(lambda: activity().count("youtu.be") and activity().count("lencr.org"), PATIENCE, "the journal")
        assert told_by_page(web.get("/").text) == {"mia": "4 min", "tom": "0 min"}
        today = web.get("/").text
        assert "YouTube" in today
        tom = next(card for card in today.split('<section class="card child') if "tom-phone" in card)
        assert "Online" in tom
        assert "TikTok" not in tom, "he asked for it in each minute, and it is blocked"
        for page in (today, web.get("/day").text, web.get("/people/tom").text):
            assert not [name for name in ("googleapis", "gstatic", "lencr.org", "wikipedia") if name in seen_on(page)]
        assert [used("mia"), used("tom")] == [4, 0]
        report = {row["name"]: row for row in web.get("/api/v1/report/people").json()}
        assert (report["mia"]["total"]["now"], report["tom"]["total"]) == (4, None)
        assert report["tom"]["time"] == [], "one name in a minute is no use of its topic"
        assert "4 min" in web.get("/report").text
        rows = json.loads(running.run("budgets", "--json").stdout)
        told = {(row["whose"], row["subject"]): row["used"] for row in rows}
        assert told == {("mia", ""): 4, ("tom", ""): 0, ("tom", "education"): 0}
        assert 'hedgerow_budgets{state="none"} 1.0' in web.get("/metrics").text, "mia's four minutes are used up"

        def first_sites() -> set[str]:
            listing = activity().partition('class="activity"')[2]
            return set(re.findall(r"<span><b>.*?<bdi>(.*?)</bdi></b>", listing)[:3])

        wait_until(lambda: first_sites() == {"TikTok", "YouTube", "wikipedia.org"}, PATIENCE, "what leads Activity")


def told_by_page(page: str) -> dict[str, str]:
    """Return the minutes of today on each child's card."""
    cards = re.findall(r'<section class="card child.*?</section>', page, re.S)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", card).split()) for card in cards]
    return {re.sub(r"^\S+ (\S+) .*", r"\1", text): re.findall(r"(\d+ min) today", text)[0] for text in texts}


def seen_on(page: str) -> str:
    """Return the text of a page without the sites that were blocked."""
    return re.sub(r"<[^>]+>", " ", page.partition('id="blocked"')[0])
