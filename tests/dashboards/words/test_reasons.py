"""Reasons in a parent's words: the same on Today, in Activity, under *Why?* and in notices."""

from __future__ import annotations

import re

import httpx
import pytest
from web_server import NOW, Web
from web_server.household import MIA, fill

from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.words.labels import reason_text
from hedgerow.dashboards.words.languages import language
from hedgerow.dashboards.words.reasons import reason_sentence, stored_reason_sentence
from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS
from hedgerow.policies.model import AccessRequest, Reason

ENGLISH = language("en")
OF_FILES = re.compile(r"policy|\w: \d|\d+h|-address|upstream|\(\w+: ")


@pytest.mark.parametrize("what", ["", "games", "roblox", "bedtime", "87 of 60", PRIVATE_ADDRESS, UPSTREAM_BLOCKS])
@pytest.mark.parametrize("reason", Reason)
def test_no_reason_has_words_of_files(reason: Reason, what: str) -> None:
    if what == "87 of 60" and reason is not Reason.PICTURE:
        return
    for text in (reason_text(reason, what), reason_sentence(reason, what, ENGLISH)):
        assert not OF_FILES.search(text), text
        assert "87" not in text


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ("rule: roblox", "The rule for Roblox closes it."),
        ("rule", "A rule closes it."),
        ("category: games", "It belongs to Games, which is closed here."),
        ("service: tiktok", "TikTok is closed here."),
        ("budget", "The limit of 1 hour 30 minutes was used up."),
        ("budget: games", "The limit of 45 minutes for Games was used up."),
        ("budget: video", "The time for Video and streaming was used up."),
        ("bedtime", "It is bedtime."),
        ("something else", "something else"),
    ],
)
def test_what_a_request_stores_is_a_sentence(stored: str, sentence: str) -> None:
    assert stored_reason_sentence(stored, ENGLISH, {"": 90, "games": 45}) == sentence


def test_a_request_on_today_says_why_it_was_closed(web: Web) -> None:
    fill(web)
    web.time.rows = (BudgetRow("mia", "", 90, 90, 0, NOW + 10000),)
    web.recorder.add(
        [
            AccessRequest(NOW - 40, MIA, "mia", "chess.example", reason="budget"),
            AccessRequest(NOW - 30, MIA, "mia", "roblox.com", reason="rule: roblox"),
        ]
    )
    web.recorder.flush()
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60) as parent:
        today = parent.get("/").text
    assert "The limit of 1 hour 30 minutes was used up." in today
    assert "The rule for Roblox closes it." in today
    assert "policy" not in re.sub("<[^>]*>", "", today.partition('id="requests"')[2])


@pytest.mark.parametrize("page", ["/log", "/log/raw", "/day", "/report", "/people/mia", "/why?row=1", "/"])
def test_no_page_of_a_parent_has_words_of_files(web: Web, page: str) -> None:
    fill(web)
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60) as parent:
        text = re.sub("<[^>]*>", " ", parent.get(page).text.partition("<main")[2].partition("<footer")[0])
    assert not re.search(r"by the policy|\(\w+: \d", text)
