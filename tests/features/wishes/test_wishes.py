"""Wishes of children and their answers, by page, API and command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from typer.testing import CliRunner
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.app.cli import make_cli
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import BudgetRow, DeviceView, InvalidInput
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.features.wishes.answers import Wishes
from hedgerow.features.wishes.own_words import ASKED_PER_HOUR
from hedgerow.features.wishes.pages import parse_wished
from hedgerow.features.wishes.records import KEPT_S, LAPSES_S, WishStore
from hedgerow.journal.tables import bonuses, grants, wishes
from hedgerow.policies.model import AccessRequest, DeviceId, Verdict
from hedgerow.policies.reading.load import load_policy

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet], budget: 1h, block: [tiktok], bedtime: "21:00-07:00"}
  tom: {age: 15, devices: [tom-phone], budget: {games: 1h}}
  eve: {age: 6, devices: [eve-tablet], budget: 30m, bedtime: "20:00-07:00"}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
  eve-tablet: {ip: 127.0.0.36}
  ana-phone: {ip: 127.0.0.33}
"""
MIA, TOM, EVE, ANA, STRANGER = (f"127.0.0.{number}" for number in (31, 32, 36, 33, 99))


STAFF = Principal("Ana", frozenset({AccessScope.OPERATE}))


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """The web server of a family, with a browser at each address."""

    web: Web
    clock: Clock

    def browser(self, address: str = "127.0.0.1", **headers: str) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        sent = {"origin": self.web.url} | headers
        return httpx.Client(base_url=self.web.url, transport=transport, trust_env=False, timeout=60, headers=sent)

    def ask(self, address: str, kind: str = "minutes", **fields: str) -> httpx.Response:
        with self.browser(address) as device:
            return device.post("/device/wish", data={"kind": kind, **fields})

    def page(self, address: str) -> str:
        with self.browser(address) as device:
            return device.get("/device").text

    def look(self, path: str) -> str:
        """Return a page of the parent."""
        with self.browser() as parent:
            return parent.get(path).text

    def press(self, path: str, **fields: str) -> str:
        """Send a form as the parent, and return the page that follows."""
        with self.browser() as parent:
            return parent.post(path, data=fields, follow_redirects=True).text

    def api(self, method: str, path: str, token: str = TOKEN, **body: object) -> httpx.Response:
        sent = {"authorization": f"Bearer {token}"}
        place = f"{self.web.url}/api/v1{path}"
        return httpx.request(method, place, json=body or None, headers=sent, trust_env=False, timeout=60, verify=False)

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.web.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(select(table))]

    def command(self, *words: str) -> str:
        done = CliRunner().invoke(make_cli(), ["wishes", *words, "--state", str(self.web.policy_path.parent)])
        return done.stdout + done.stderr


def _wishes_of(house: House) -> Wishes:
    """Return the part of control, for callers that have no page."""
    store = house.web.engine
    parts: Any = SimpleNamespace(budgets=lambda: house.web.time.rows)

    async def nothing() -> None:
        pass

    return Wishes(
        store=store,
        control=house.web.control,
        times=parts,
        editor=parts,
        put_in_force=nothing,
        notify=lambda _notices: None,
        clock=house.clock,
    )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    place, clock = Endpoint("127.0.0.1", 9), Clock()
    settings = Settings(tmp_path, None, place, place, place)
    settings.run.mkdir()
    settings.save()
    settings.control_socket.symlink_to(tmp_path / "control.sock")
    with running_web(tmp_path, clock=clock) as web:
        people = {
            MIA: ("mia", "child-8-12"),
            TOM: ("tom", "teen"),
            EVE: ("eve", "child-under-8"),
            ANA: ("Ana", "adult"),
        }
        for name, person in load_policy(web.policy_path).people.items():
            address = {"mia": MIA, "tom": TOM, "eve": EVE, "Ana": ANA}[name]
            device = DeviceId(f"{name.lower()}-{'tablet' if name in ('mia', 'eve') else 'phone'}")
            web.control.devices[address] = DeviceView(device, people[address][0], person.profile)
        web.control.devices[STRANGER] = DeviceView(DeviceId(STRANGER), None, "child-8-12")
        web.time.rows = (
            BudgetRow("mia", "", 60, 60, 0, NOW + 3600),
            BudgetRow("tom", "games", 10, 60, 50, NOW + 3600),
            BudgetRow("eve", "", 10, 30, 20, NOW + 3600),
        )
        yield House(web, clock)


def test_minutes_are_asked_for_and_answered_with_less(house: House) -> None:
    assert house.ask(MIA, minutes="30", subject="", note="the film\nis not over").status_code == 303
    assert house.rows(bonuses) == [], "asking opens nothing"
    assert "waiting for an answer" in house.page(MIA)
    with house.browser() as parent:
        today = parent.get("/").text
        assert parent.get("/today/requests").text in today, "which live.js fetches"
    assert "+30 min" in today
    assert "the film is not over" in today
    (wish,) = house.api("GET", "/wishes").json()
    assert "15 more minutes for mia today" in house.press(f"/wishes/{wish['id']}/grant", minutes="15")
    (bonus,) = house.rows(bonuses)
    assert (bonus["account"], bonus["subject"], bonus["minutes"]) == ("person:mia", "", 15)
    assert "You got 15 more minutes." in house.page(MIA)
    assert house.api("GET", "/wishes").json() == []
    (answered,) = house.api("GET", "/wishes/answered").json()
    assert (answered["state"], answered["minutes"], answered["given"]) == ("granted", 30, 15)


def test_a_yes_is_undone_and_asked_again(house: House) -> None:
    house.ask(TOM, minutes="20", subject="games")
    house.press("/wishes/1/grant")
    assert "the question is open again" in house.press("/wishes/1/undo")
    assert [row["minutes"] for row in house.rows(bonuses)] == [20, -20]
    assert {row["subject"] for row in house.rows(bonuses)} == {"category:games"}
    assert [wish["state"] for wish in house.api("GET", "/wishes").json()] == ["open"]
    assert house.api("POST", "/wishes/1/undo").status_code == 422
    house.press("/wishes/1/grant")
    house.clock.now += 601
    assert house.api("POST", "/wishes/1/undo").status_code == 422, "ten minutes only"
    assert len(house.rows(bonuses)) == 3


def test_a_later_bedtime_takes_the_place_of_an_earlier_one_and_back(house: House) -> None:
    """NOW is 20:26 UTC, and bedtime at 21:00."""
    house.clock.now = NOW
    bedtime = house.web.control.person_times(["mia"])["mia"].bedtime
    assert bedtime is not None
    assert house.api("POST", "/people/mia/bedtime/later", minutes=15).status_code == 201
    house.ask(MIA, "bedtime", minutes="60")
    (wish,) = house.api("GET", "/wishes").json()
    assert wish["base"] == bedtime + 15 * 60
    assert house.api("POST", f"/wishes/{wish['id']}/grant", minutes=30).json()["given"] == 30
    earlier, later = sorted(house.rows(grants), key=lambda row: row["ends"])
    assert (earlier["revoked_at"], later["ends"]) == (NOW, bedtime + 45 * 60)
    assert "You may stay up until" in house.page(MIA)
    assert house.api("POST", f"/wishes/{wish['id']}/undo").json()["state"] == "open"
    earlier, later = sorted(house.rows(grants), key=lambda row: row["ends"])
    assert (earlier["revoked_at"], later["revoked_at"]) == (None, NOW)


def test_an_accepted_proposal_becomes_the_rule_and_changes_says_whose_idea_it_was(house: House) -> None:
    house.ask(MIA, "rule", subject="tiktok", note="my class is there")
    assert "my class is there" in house.look("/")
    refused = house.press("/wishes/1/grant")
    assert "dangerous" not in refused
    assert "tiktok" not in {each.name for each in load_policy(house.web.policy_path).people["mia"].rules.block}
    assert "proposed by mia" in house.look("/changes")
    assert "It was your idea." in house.page(MIA)


def test_who_may_only_operate_changes_no_rule(house: House) -> None:
    house.ask(MIA, "rule", subject="tiktok")
    before = house.web.policy_path.read_text()
    with pytest.raises(InvalidInput, match="may not change rules"):
        asyncio.run(_wishes_of(house).grant(1, STAFF, "Ana"))
    assert house.web.policy_path.read_text() == before


def _until(day: str) -> float:
    """Return the instant at which a day is over in the time zone of the house."""
    return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)).timestamp()


@pytest.mark.parametrize(
    ("order", "ends"),
    [({"days": 7}, "2026-06-04"), ({"days": 1}, "2026-05-29"), ({"until": "2026-12-24"}, "2026-12-24")],
)
def test_a_yes_for_a_while_ends_by_itself_and_both_sides_see_it(
    house: House, order: dict[str, object], ends: str
) -> None:
    """NOW is 28 May 2026."""
    house.ask(MIA, "rule", subject="tiktok", note="my class is there")
    rules = house.web.policy_path.read_text()
    answer = house.press("/wishes/1/grant", **{name: str(value) for name, value in order.items()})
    assert "TikTok is open for mia until" in answer
    (grant,) = house.rows(grants)
    assert (grant["subject"], grant["person"], grant["ends"]) == ("tiktok", "mia", _until(ends))
    assert house.web.policy_path.read_text() == rules, "the rule stays, and closes it again then"
    (wish,) = house.api("GET", "/wishes/answered").json()
    assert (wish["state"], wish["result"], wish["base"]) == ("granted", grant["id"], _until(ends))
    assert "TikTok is open until" in house.page(MIA)
    assert "<time" in house.look("/people/mia").partition("asked for in the last 30 days")[2].partition("</details>")[0]
    assert "TikTok is open until" not in house.page(TOM)
    noon = _until(ends) + 12 * 3600
    for at, verdict in ((NOW, Verdict.ALLOW), (noon - 86400, Verdict.ALLOW), (noon, Verdict.BLOCK)):
        (seen, *_rest) = asyncio.run(house.web.control.explain("mia-tablet", "www.tiktok.com", at))
        assert seen.decision.verdict is verdict, at
    house.clock.now = min(_until(ends) + 1, NOW + KEPT_S - 1)
    assert ("It was open until" in house.page(MIA)) is (house.clock.now > _until(ends))


def test_a_yes_for_a_while_is_undone(house: House) -> None:
    house.ask(MIA, "rule", subject="tiktok")
    assert "/wishes/1/undo" in house.press("/wishes/1/grant", days="7")
    assert "the question is open again" in house.press("/wishes/1/undo")
    assert [row["revoked_at"] for row in house.rows(grants)] == [NOW]
    (wish,) = house.api("GET", "/wishes").json()
    assert (wish["state"], wish["base"], wish["result"]) == ("open", None, None)
    assert house.api("POST", "/wishes/1/undo").status_code == 422
    assert "Yes to wish 1." in house.command("grant", "1", "--days", "2")
    assert len(house.rows(grants)) == 2


@pytest.mark.parametrize(
    "order",
    [
        *({"days": days} for days in (0, -1, 367, 10**12, "NaN", 1.5)),
        *({"until": day} for day in ("2026-05-27", "1900-01-01", "2027-12-24", "9999-12-31", "soon", "2026-13-01")),
        {"days": 7, "until": "2026-12-24"},
    ],
)
def test_made_up_days_open_nothing_and_lose_nothing(house: House, order: dict[str, Any]) -> None:
    house.ask(MIA, "rule", subject="tiktok")
    assert house.api("POST", "/wishes/1/grant", **order).status_code == 422
    assert house.rows(grants) == []
    assert [wish["state"] for wish in house.api("GET", "/wishes").json()] == ["open"]


def test_minutes_a_bedtime_and_a_question_without_a_rule_are_not_opened_for_days(house: House) -> None:
    house.ask(MIA, minutes="20")
    house.ask(MIA, "bedtime", minutes="15")
    house.ask(MIA, "rule", subject="bedtime")
    house.ask(MIA, "rule")
    for number in (1, 2, 3, 4):
        assert house.api("POST", f"/wishes/{number}/grant", days=7).status_code == 422
    assert (house.rows(grants), house.rows(bonuses)) == ([], [])


def test_of_two_yeses_for_a_while_at_once_one_counts(house: House) -> None:
    house.ask(MIA, "rule", subject="tiktok")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda days: house.api("POST", "/wishes/1/grant", days=days).status_code, (1, 7, 30, 60)))
    assert sorted(found) == [200, 422, 422, 422]
    assert len(house.rows(grants)) == 1


def test_what_is_dangerous_is_not_opened_for_a_while_by_a_tap(house: House) -> None:
    house.web.policy_path.write_text(HOUSE.replace("block: [tiktok]", "block: [adult]"))
    row = {"kind": "rule", "subject": "adult", "person": "mia", "device": "mia-tablet", "minutes": 0, "note": ""}
    WishStore(house.web.engine).file(row | {"base": None}, NOW)
    answer = house.api("POST", "/wishes/1/grant", days=7)
    assert (answer.status_code, "dangerous for a child" in answer.text) == (422, True)
    assert house.rows(grants) == []


def test_a_no_has_a_reason_and_talking_stays_open_until_one_of_them_closes_it(house: House) -> None:
    house.ask(MIA, minutes="10")
    house.ask(MIA, "rule", subject="bedtime")
    house.press("/wishes/1/deny", why="Homework first.")
    assert "Homework first." in house.page(MIA)
    house.press("/wishes/2/talk", why="At dinner?")
    assert [wish["state"] for wish in house.api("GET", "/wishes").json()] == ["talking"]
    assert "At dinner?" in house.page(MIA)
    with house.browser(TOM) as other:
        assert "answered or closed already" in other.post("/device/wish/close", data={"wish": "2"}).text
    with house.browser(MIA) as device:
        assert device.post("/device/wish/close", data={"wish": "2"}).status_code == 303
    assert house.api("GET", "/wishes").json() == []
    history = house.look("/people/mia")
    assert "asked for in the last 30 days" in history
    assert "Homework first." in history


def test_a_wish_waits_among_the_requests_before_the_children(house: House) -> None:
    assert "No requests are waiting." in house.look("/")
    house.ask(MIA, minutes="10")
    house.web.ledger.file(AccessRequest(house.clock.now, DeviceId("tom-phone"), "tom", "scratch.example"))
    today = house.look("/")
    assert "<title>(2) Today" in today
    assert "No requests are waiting." not in today
    assert today.index("2 requests are waiting") < today.index("/wishes/1/grant") < today.index("child-1")
    house.press("/requests/1/deny")
    assert "1 request is waiting" in house.look("/today/requests")


@pytest.mark.parametrize(
    ("answer", "says"),
    [("deny", "is on the child"), ("talk", "mia can read that you want to talk"), ("close", "closed")],
)
def test_each_answer_can_be_taken_back(house: House, answer: str, says: str) -> None:
    house.ask(MIA, minutes="10")
    told = house.press(f"/wishes/1/{answer}", **({"why": "At dinner?"} if answer != "close" else {}))
    assert says in told
    assert 'action="/wishes/1/undo"' in told
    assert "the question is open again" in house.press("/wishes/1/undo")
    (wish,) = house.api("GET", "/wishes").json()
    assert (wish["state"], wish["why"]) == ("open", "")
    assert house.api("POST", "/wishes/1/undo").status_code == 422
    house.press(f"/wishes/1/{answer}")
    house.clock.now += 601
    assert house.api("POST", "/wishes/1/undo").status_code == 422, "ten minutes only"


def test_a_site_to_talk_about_is_a_request_again(house: House) -> None:
    house.web.ledger.file(AccessRequest(house.clock.now, DeviceId("mia-tablet"), "mia", "www.tiktok.com"))
    assert "mia can read that you want to talk about it" in house.press("/requests/1/talk", why="At dinner?")
    assert "The answer is no" not in house.page(MIA), "it is to be talked about"
    assert house.page(MIA).count("to talk about</span>") == 2
    assert "the question is open again" in house.press("/wishes/1/undo")
    assert house.rows(wishes) == []
    assert [(row.id, row.why) for row in house.web.control.reader.requests()] == [(1, "")]


def test_a_site_that_was_asked_for_is_kept_to_talk_about(house: House) -> None:
    now, tablet = house.clock.now, DeviceId("mia-tablet")
    for device, person in ((tablet, "mia"), (DeviceId(STRANGER), None)):
        house.web.ledger.file(AccessRequest(now, device, person, "www.tiktok.com", "", "service: tiktok", "my class"))
    assert house.look("/").count("/talk") == 1, "only for somebody of the family"
    assert "until one of you closes it" in house.press("/requests/1/talk", why="Let’s talk about it first.")
    (wish,) = house.api("GET", "/wishes").json()
    assert (wish["state"], wish["subject"], wish["note"]) == ("talking", "tiktok", "my class")
    assert "Why is TikTok closed?" in house.page(MIA)
    assert house.web.ledger.request(1).why == "Let’s talk about it first."
    for number, status in ((1, 404), (2, 204), (2, 404), (77, 404)):
        assert house.api("POST", f"/requests/{number}/talk").status_code == status
    assert len(house.rows(wishes)) == 1
    with house.browser(MIA) as browser:
        assert browser.post("/device/wish/close", data={"wish": "1"}).status_code == 303
    assert house.api("GET", "/wishes").json() == []


def test_brothers_and_sisters_adults_and_strangers_see_nothing_and_a_stranger_writes_nothing(house: House) -> None:
    house.ask(MIA, minutes="10", note="a secret of mia")
    for address in (TOM, EVE, ANA, STRANGER):
        assert "a secret of mia" not in house.page(address)
    for address in (ANA, STRANGER):
        answer = house.ask(address, minutes="10")
        assert answer.status_code == 422
        assert "Only a child of the family" in answer.text
    for path in ("/wishes", "/wishes/answered"):
        with house.browser(TOM) as device:
            assert device.get(f"/api/v1{path}").status_code in (401, 403)
            assert device.post("/wishes/1/grant").status_code in (303, 401, 403)
    assert len(house.rows(wishes)) == 1


def test_a_script_of_another_site_asks_for_nothing(house: House) -> None:
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}):
        with house.browser(MIA, **headers) as device:
            answer = device.post("/device/wish", data={"kind": "minutes", "minutes": "10"})
        assert answer.status_code in (400, 403), headers
    assert house.rows(wishes) == []


@pytest.mark.parametrize(
    "minutes", ["", "-5", "0", "241", "99999999", "NaN", "inf", "1e2", "²", "٣٠", "10; drop", "1" * 20]
)
def test_made_up_minutes_are_refused_in_words(house: House, minutes: str) -> None:
    for kind in ("minutes", "bedtime"):
        answer = house.ask(MIA, kind, minutes=minutes)
        assert answer.status_code == 422
        assert "Choose a number of minutes from 1 to 240." in answer.text
    assert house.rows(wishes) == []


def test_what_a_child_does_not_have_is_refused_in_words(house: House) -> None:
    for kind, subject, says in (
        ("minutes", "games", "no daily limit for this"),
        ("rule", "adult", "not one of your rules"),
        ("made-up", "nothing", "not one of your rules"),
    ):
        assert says in house.ask(MIA, kind, minutes="10", subject=subject).text
    assert "no bedtime tonight" in house.ask(TOM, "bedtime", minutes="10").text
    assert house.rows(wishes) == []


def test_the_limit_is_explained_with_the_time_of_the_next_question(house: House) -> None:
    for _ in range(ASKED_PER_HOUR):
        assert house.ask(MIA, minutes="10").status_code == 303
        house.clock.now += 60
    refused = house.ask(MIA, minutes="10")
    assert "You can ask again at 22:27" in " ".join(refused.text.split())
    assert "You can ask again at" in house.page(MIA)
    assert [row["asked"] for row in house.rows(wishes)] == [ASKED_PER_HOUR], "one question, asked six times"
    assert house.ask(TOM, minutes="10", subject="games").status_code == 303, "each child has a limit of its own"
    house.clock.now += 3600
    assert house.ask(MIA, minutes="10").status_code == 303


def test_of_two_answers_at_once_one_counts(house: House) -> None:
    house.ask(MIA, minutes="20")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: house.api("POST", "/wishes/1/grant").status_code, range(8)))
    assert sorted(found) == [200, *[422] * 7]
    assert [row["minutes"] for row in house.rows(bonuses)] == [20]
    late = house.api("POST", "/wishes/1/deny", why="no")
    assert "has answered this already" in late.text
    assert house.api("POST", "/wishes/77/deny").status_code == 404


def test_a_removed_child_gets_nothing_and_its_question_can_be_closed(house: House) -> None:
    house.ask(MIA, minutes="20")
    path = house.web.policy_path
    lines = [line for line in path.read_text().splitlines() if "mia" not in line]
    path.write_text("\n".join(lines))
    answer = house.api("POST", "/wishes/1/grant")
    assert (answer.status_code, house.rows(bonuses)) == (422, [])
    assert "no person called 'mia'" in answer.text
    assert house.api("POST", "/wishes/1/close").status_code == 204


@pytest.mark.parametrize("jump", [LAPSES_S + 1, -LAPSES_S - 1, 400 * 86400.0, -400 * 86400.0])
def test_a_clock_that_jumps_opens_nothing_and_loses_nothing(house: House, jump: float) -> None:
    house.ask(MIA, minutes="20")
    house.ask(MIA, "bedtime", minutes="15")
    house.clock.now += jump
    for number in (1, 2):
        answer = house.api("POST", f"/wishes/{number}/grant")
        assert (answer.status_code, "too late" in answer.text) == (422, True)
    assert house.api("GET", "/wishes").json() == []
    assert "not answered" in house.page(MIA) or abs(jump) > KEPT_S
    assert (house.rows(bonuses), len(house.rows(wishes))) == ([], 2)
    house.clock.now -= jump
    assert house.api("POST", "/wishes/1/grant").status_code == 200


@pytest.mark.parametrize("minutes", [0, -1, 241, 10**12, "NaN", 1.5])
def test_a_parents_made_up_minutes_are_refused(house: House, minutes: object) -> None:
    house.ask(MIA, minutes="20")
    assert house.api("POST", "/wishes/1/grant", minutes=minutes).status_code == 422
    assert house.rows(bonuses) == []


def test_a_child_under_eight_asks_by_one_tap_and_types_nothing(house: House) -> None:
    page = house.page(EVE)
    card = page[page.index('id="wishes"') :].partition("</section>")[0]
    assert card.partition("<script")[0].count("<button") == 6, "three to ask, two to have it read aloud, one to be told"
    assert '<input type="text"' not in card
    assert 'name="note"' not in card
    assert house.ask(EVE, minutes="10").status_code == 303
    assert house.ask(EVE, "bedtime", minutes="15").status_code == 303
    assert house.ask(EVE, "rule").status_code == 303
    assert len(house.api("GET", "/wishes").json()) == 3


def test_a_child_has_what_it_can_ask_read_aloud(house: House) -> None:
    """Where the device has a voice, the script shows the button; see the tests of advice."""
    for child in (MIA, EVE):
        page = house.page(child)
        assert "data-aloud" in page
        assert "data-read hidden" in page
    assert "data-aloud" not in house.page(ANA)


def test_answers_by_command(house: House) -> None:
    house.ask(MIA, minutes="20")
    assert "mia" in house.command("list")
    assert "Yes to wish 1." in house.command("grant", "1", "--minutes", "5")
    assert [row["minutes"] for row in house.rows(bonuses)] == [5]
    assert "Wish 1 is open again." in house.command("undo", "1")
    assert "open to talk about" in house.command("talk", "1", "--why", "At dinner?")
    assert "No to wish 1." in house.command("deny", "1")
    assert "Nobody has asked for anything." in house.command("list")
    assert "has answered this already" in house.command("close", "1")


def test_answered_wishes_are_kept_for_30_days(house: House) -> None:
    store = WishStore(house.web.engine)
    house.ask(MIA, minutes="20")
    house.api("POST", "/wishes/1/deny")
    house.clock.now += KEPT_S - 10
    assert len(store.of_person("mia", house.clock.now)) == 1
    house.clock.now += 20
    assert store.of_person("mia", house.clock.now) == ()
    house.ask(MIA, minutes="20")
    assert [row["id"] for row in house.rows(wishes)] == [2], "older ones are deleted"


def test_minutes_in_digits() -> None:
    assert parse_wished(" 30 ") == 30
