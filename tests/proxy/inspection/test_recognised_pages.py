"""Pages that are recognised by what is in them, from outside, and the reports of the hosts that control may
remember.
"""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import pytest
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.whole import SmallInternet

from hedgerow.policies.model import Reason

CHILD_WITH_CA, CHILD, ADULT = "127.0.0.11", "127.0.0.12", "127.0.0.13"
INSPECTED = "www.films.example"
LABELLED = '<meta name="rating" content="RTA-5042-1996-1400-1577-RTA"><body>Enter'
WORDS = (
    "<title>Online casino with free spins - welcome bonus</title><body><h1>Live casino and slot games</h1><p>No deposit"
    " bonus, jackpot slots, Megaways, live dealer, roulette, blackjack and baccarat. Wagering requirements 35x."
    " Sportsbook: live betting, bet now."
)
HARMLESS = "<title>School</title><body><h1>Welcome</h1>"


def html(page: str, more: str = "") -> str:
    return f"/html/{base64.urlsafe_b64encode((page + more).encode()).decode()}"


def fetch(stand: Stand, url: str, *options: str, source: str = CHILD_WITH_CA) -> HttpAnswer:
    return curl(url, proxy=stand.proxy, source=source, ca=stand.ca, options=options)


@pytest.fixture(autouse=True)
def _nothing_before(stand: Stand) -> None:
    stand.recognised()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_labelled_page_is_blocked_and_its_host_reported(stand: Stand, net: SmallInternet, scheme: str) -> None:
    answer = fetch(stand, net.url(INSPECTED, html(LABELLED), scheme))
    assert answer.status == 403
    assert "The site says of itself that it is for adults only." in answer.text
    told = stand.wait_for(
        lambda found: any(each.decision and each.decision.reason is Reason.RECOGNISED for each in found)
    )
    assert {each.decision.what for each in told if each.decision and each.decision.reason is Reason.RECOGNISED} == {
        "adult"
    }
    (page,) = stand.recognised()
    assert (page.host, page.topic, page.is_labelled) == ("films.example", "adult", True)


def test_a_page_is_recognised_by_its_words(stand: Stand, net: SmallInternet) -> None:
    for number in range(2):
        answer = fetch(stand, net.url("casino.example", html(WORDS, f"<i>{number}</i>"), "http"))
        assert answer.status == 403
        assert "its pages look like" in answer.text
    first, second = stand.recognised()
    assert (first.host, first.topic, first.is_labelled) == ("casino.example", "gambling", False)
    assert first.page != second.page


def test_a_long_page_is_recognised_in_the_process_for_long_ones(stand: Stand, net: SmallInternet) -> None:
    packed = base64.urlsafe_b64encode((LABELLED + " words" * 20).encode()).decode()
    answer = fetch(stand, net.url(INSPECTED, f"/mirror?type=text/html&gap=300000&data={packed}"))
    assert answer.status == 403
    assert "The site says of itself that it is for adults only." in answer.text
    assert [page.is_labelled for page in stand.recognised()] == [True]


LABELS = {
    "rating": "RTA-5042-1996-1400-1577-RTA",
    "pics-label": '(PICS-1.1 "http://www.rsac.org/ratingsv01.html" l r (n 4 s 4 v 0 l 3))',
}


@pytest.mark.parametrize("field", LABELS)
def test_the_label_may_be_a_field_of_the_response(stand: Stand, net: SmallInternet, field: str) -> None:
    query = urlencode({"type": "text/html", "data": base64.urlsafe_b64encode(HARMLESS.encode()), field: LABELS[field]})
    assert fetch(stand, net.url(INSPECTED, f"/mirror?{query}")).status == 403
    assert [page.is_labelled for page in stand.recognised()] == [True]
    assert fetch(stand, net.url(INSPECTED, f"/mirror?{query}", "http"), source=ADULT).status == 200


def test_a_host_of_mostly_harmless_pages_is_not_reported(stand: Stand, net: SmallInternet) -> None:
    for number in range(3):
        assert fetch(stand, net.url("forum.example", html(HARMLESS, str(number)), "http"), source=CHILD).status == 200
    assert fetch(stand, net.url("forum.example", html(WORDS), "http"), source=CHILD).status == 403
    assert stand.recognised() == []


def test_pages_of_a_corrected_site_are_not_judged_for_the_topic(stand: Stand, net: SmallInternet) -> None:
    assert fetch(stand, net.url("forum.example", html(LABELLED), "http"), source=CHILD).status == 200
    assert fetch(stand, net.url("forum.example", html(WORDS), "http"), source=CHILD).status == 403
    assert "adult" not in {page.topic for page in stand.recognised()}


def test_an_adult_sees_it_and_nothing_is_reported(stand: Stand, net: SmallInternet) -> None:
    assert fetch(stand, net.url("casino.example", html(LABELLED), "http"), source=ADULT).status == 200
    assert stand.recognised() == []


def test_what_an_address_may_have_put_into_a_page_does_not_count_for_its_host(stand: Stand, net: SmallInternet) -> None:
    path = html(WORDS)
    assert fetch(stand, net.url("casino.example", f"{path}?q=free+spins", "http")).status == 403
    assert stand.recognised() == []
