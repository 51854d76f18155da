"""Asking for a site on a device's own page."""

from dataclasses import replace

import httpx
import pytest
from web_server import NOW

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.model import AccessRequest, Decision, DeviceId, Observation, Reason, RequestKind, Verdict

TABLET, STRANGE, OUTSIDER = "127.0.0.22", "127.0.0.23", "127.0.0.99"


@pytest.fixture
def home(web):
    web.control.explained = Decision(Verdict.BLOCK, Reason.CATEGORY, "gambling")
    web.control.devices[TABLET] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    web.control.devices[STRANGE] = DeviceView(DeviceId(STRANGE), None, "child-8-12")
    return web


def browser(web, address):
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=30, headers={"origin": web.url})


def requests(web):
    web.recorder.flush()
    with browser(web, "127.0.0.1") as desk:
        return desk.get("/api/v1/requests").json()


@pytest.mark.parametrize(
    ("site", "host", "title"),
    [
        ("https://Scratch.mit.edu/ideas?x=1", "scratch.mit.edu", "scratch.mit.edu"),
        ("scratch.mit.edu", "scratch.mit.edu", "scratch.mit.edu"),
        ("  TikTok ", "tiktok.com", "TikTok"),
        ("www.tiktok.com", "www.tiktok.com", "TikTok"),
    ],
)
def test_a_request_shows_on_today_with_its_note(home, site, host, title):
    with browser(home, TABLET) as tablet:
        answer = tablet.post("/device/ask", data={"site": site, "note": "for\nschool"})
        assert answer.headers["location"] == "/device#ask"
        home.recorder.flush()
        assert f"<bdi>{title}</bdi></b>. The answer will be here." in tablet.get("/device").text
    (found,) = requests(home)
    assert (found["device"], found["person"], found["host"], found["note"]) == ("mia-tablet", "mia", host, "for school")
    assert found["reason"] == "category: gambling"
    with browser(home, "127.0.0.1") as desk:
        page = desk.get("/").text
    assert "for school" in page
    assert f'<b class="host"><bdi>{title}</bdi></b>' in page


def test_nobody_reads_that_a_child_asks_for_what_an_app_needs(home):
    asked = AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "1-2.abc.plex.direct", reason="default: unread-app")
    home.recorder.add([asked])
    home.recorder.flush()
    with browser(home, TABLET) as tablet, browser(home, "127.0.0.1") as desk:
        own, today = tablet.get("/device").text, desk.get("/").text
    assert "1-2.abc.plex.direct</bdi></b>: An app does not accept the network&#39;s certificate, and" in own
    assert "You have asked" not in own
    assert "An app on mia-tablet does not accept the network&#39;s certificate for 1-2.abc.plex.direct." in today
    assert not any(words in today for words in ("asks for", "was blocked for", 'name="only_device"'))


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("bypass", RequestKind.TUNNEL),
        ("certificate", RequestKind.TUNNEL),
        ("tunnel-traffic", RequestKind.TUNNEL),
        ("tunnel-traffic", RequestKind.HTTP),
    ],
)
def test_a_site_that_its_server_or_traffic_closed_can_be_asked_for(home, what, kind):
    """No rule tells of it: it was found by a look, and the page said that it is open."""
    home.control.explained, host = Decision(Verdict.ALLOW, Reason.DEFAULT), "node-7.fast-net.example"
    seen = Observation(
        NOW,
        DeviceId("mia-tablet"),
        "mia",
        "child-8-12",
        kind,
        Verdict.BLOCK,
        Reason.RECOGNISED,
        what,
        host,
    )
    with browser(home, TABLET) as tablet:
        assert "is open here" in tablet.post("/device/ask", data={"site": host}).text
        home.recorder.add([seen, replace(seen, device=DeviceId("ben-phone"), person="ben", host="other.example")])
        home.recorder.flush()
        assert "is open here" in tablet.post("/device/ask", data={"site": "other.example"}).text
        assert tablet.post("/device/ask", data={"site": f"https://{host}/x", "note": "school"}).status_code == 303
    (found,) = requests(home)
    assert (found["device"], found["host"], found["reason"]) == ("mia-tablet", host, f"recognised: {what}")


def test_a_device_without_a_name_may_ask(home):
    with browser(home, STRANGE) as phone:
        assert phone.post("/device/ask", data={"site": "chess.example"}).status_code == 303
    assert [row["device"] for row in requests(home)] == [STRANGE]


def test_what_is_no_site_stays_in_the_form_beside_a_sentence(home):
    with browser(home, TABLET) as tablet:
        for site in (
            "",
            "the game with the blocks",
            "http://",
            "a" * 300,
            "javascript:alert(1)",
            "<b>x</b>",
            "localhost",
        ):
            answer = tablet.post("/device/ask", data={"site": site, "note": "kept words"})
            assert answer.status_code == 422, site
            assert 'aria-invalid="true"' in answer.text
            assert 'value="kept words"' in answer.text
            assert "<b>x" not in answer.text
    assert requests(home) == []


@pytest.mark.parametrize(
    "decision",
    [
        Decision(Verdict.ALLOW, Reason.DEFAULT),
        Decision(Verdict.ALLOW, Reason.LIFELINE),
        Decision(Verdict.BLOCK, Reason.CATEGORY, "illegal"),
        Decision(Verdict.BLOCK, Reason.BYPASS, "vpn"),
    ],
)
def test_what_is_open_or_must_not_be_asked_for_is_not_recorded(home, decision):
    home.control.explained = decision
    with browser(home, TABLET) as tablet:
        assert tablet.post("/device/ask", data={"site": "site.example"}).status_code == 422
    assert requests(home) == []


def test_requests_are_limited_per_device(home):
    with browser(home, TABLET) as tablet, browser(home, STRANGE) as other:
        statuses = [tablet.post("/device/ask", data={"site": f"s{number}.example"}).status_code for number in range(8)]
        assert statuses == [303] * 5 + [422] * 3
        assert other.post("/device/ask", data={"site": "x.example"}).status_code == 303


def test_strangers_and_other_sites_cannot_ask(home):
    with browser(home, OUTSIDER) as client:
        assert client.post("/device/ask", data={"site": "x.example"}).status_code == 403
    with browser(home, TABLET) as tablet:
        assert (
            tablet.post(
                "/device/ask", data={"site": "x.example"}, headers={"origin": "http://evil.example"}
            ).status_code
            == 403
        )
    assert requests(home) == []
