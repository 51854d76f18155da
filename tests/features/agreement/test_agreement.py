"""The agreement of a child with its parents: read, said yes to on both devices, changed, and looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from re import findall, search, split, sub

import httpx
import pytest
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.notices import Notice
from hedgerow.dashboards.words.languages import language
from hedgerow.dashboards.words.rule_facts import RuleFacts, difference
from hedgerow.features.agreement.agreements import Agreements, facts_of
from hedgerow.features.agreement.terms import Promises, Side
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy, parse_policy

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet], budget: 1h, block: [roblox], bedtime: "21:00-07:00"}
  tom: {age: 15, devices: [tom-phone], block: [netflix]}
  eve: {age: 6, devices: [eve-tablet]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
  ana-phone: {ip: 127.0.0.33}
  eve-tablet: {ip: 127.0.0.36}
"""
MIA, TOM, ANA, EVE, STRANGER = (f"127.0.0.{number}" for number in (31, 32, 33, 36, 99))
DAY_S = 86400.0


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
    notices: list[Notice] = field(default_factory=list)

    def browser(self, address: str = "127.0.0.1") -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        sent = {"origin": self.web.url}
        return httpx.Client(base_url=self.web.url, transport=transport, trust_env=False, timeout=60, headers=sent)

    def page(self, path: str, address: str = "127.0.0.1") -> str:
        with self.browser(address) as browser:
            return unescape(browser.get(path, follow_redirects=True).text)

    def say_yes(self, path: str, address: str, sent: dict[str, object]) -> httpx.Response:
        """Open the page of an agreement and send its form, as a browser does."""
        with self.browser(address) as browser:
            found = search('name="seen" value="([0-9a-f]+)"', browser.get(path).text)
            sent["seen"] = sent["seen"] or (found[1] if found else "")
            return browser.post(f"{path}/yes", data=sent, follow_redirects=True)

    def parent_says_yes(self, name: str = "mia", seen: str = "", **fields: object) -> httpx.Response:
        return self.say_yes(f"/agreement/{name}", "127.0.0.1", {"seen": seen, "months": "3", **fields})

    def child_says_yes(self, address: str = MIA, seen: str = "") -> httpx.Response:
        return self.say_yes("/device/rules", address, {"seen": seen})

    def edit(self, old: str, new: str) -> None:
        text = self.web.policy_path.read_text()
        assert old in text
        self.web.policy_path.write_text(text.replace(old, new))

    @property
    def agreements(self) -> Agreements:
        return Agreements(self.web.engine, self.web.control.policy, self.notices.extend, self.clock)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    clock = Clock()
    with running_web(tmp_path, clock=clock) as web:
        policy = load_policy(web.policy_path)
        devices = {MIA: "mia-tablet", TOM: "tom-phone", ANA: "ana-phone", EVE: "eve-tablet"}
        for address, name in devices.items():
            device = policy.devices[DeviceId(name)]
            web.control.devices[address] = DeviceView(device.id, device.person, device.profile, grade=Grade.ADDRESS)
        web.control.devices[STRANGER] = DeviceView(DeviceId(STRANGER), None, "child-8-12")
        yield House(web, clock)


def test_both_say_yes_on_their_own_device_and_read_the_day_of_the_next_look(house: House) -> None:
    text = house.page("/device/rules", MIA)
    for words in ("21:00–07:00", "every day 60 min", "Roblox", "but not the pages", "Yes, I agree"):
        assert words in text
    answer = unescape(house.parent_says_yes(promise=["together", "table"], words="On Sundays we play.").text)
    assert "You have said yes. Now it is mia's turn." in answer
    mine = house.page("/device/rules", MIA)
    assert "Your parents have said yes. Now it is your turn." in mine
    assert "We look at what is stored only together with you." in mine
    assert "On Sundays we play." in mine
    assert "You and your parents have said yes." in unescape(house.child_says_yes().text)
    standing = house.agreements.standing("mia")
    assert standing.is_agreed
    assert standing.agreement.look_at == pytest.approx(NOW + 92 * DAY_S, abs=2 * DAY_S)
    assert "both have said yes" in house.page("/people/mia")
    assert "Our rules" not in house.page("/people/Ana")


def test_a_small_child_reads_short_sentences(house: House) -> None:
    text = house.page("/device/rules", EVE)
    assert "What is not closed is open." in text
    assert "Also closed:" not in text
    assert "Also closed:" in house.page("/device/rules", MIA)
    house.edit("mia: {age: 9", "mia: {age: 8")
    assert "Also closed:" not in house.page("/device/rules", MIA)


def test_sentences_for_a_small_child_are_short(house: House) -> None:
    house.parent_says_yes("eve", promise=["together", "weekly", "ask", "why", "calm", "table"])
    page = house.page("/device/rules", EVE).partition("<main")[2].partition("</main>")[0]
    lines = [sub("<[^>]+>", "", line) for line in split("</(?:p|li|h1|h2|button)>", page)]
    assert len(lines) > 15
    for sentence in (each for line in lines for each in split(r"[.:?!;,] ?", " ".join(line.split()))):
        assert len(sentence.split()) <= 13, sentence


def test_the_child_may_be_first_and_the_parent_hears_of_it(house: House) -> None:
    house.child_says_yes()
    assert "mia has said yes to your rules. Now it is your turn." in house.page("/")
    assert "mia has said yes" in house.page("/agreement/mia")
    house.parent_says_yes()
    assert house.agreements.standing("mia").is_agreed
    assert "Now it is your turn" not in house.page("/")


def test_the_childs_page_at_people_says_who_has_said_yes(house: House) -> None:
    house.parent_says_yes()
    assert "you have said yes, mia not yet." in house.page("/people/mia")
    house.child_says_yes(TOM)
    assert "tom has said yes to your rules. Now it is your turn." in house.page("/people/tom")


def test_a_parent_says_yes_on_today_to_what_the_child_has_read(house: House) -> None:
    house.parent_says_yes(promise=["table"], words="On Sundays we play.", months="6")
    house.edit("budget: 1h", "budget: 2h")
    assert "Yes, we agree" not in house.page("/"), "the child has not read it yet"
    house.child_says_yes()
    with house.browser() as browser:
        form = browser.get("/").text.partition('action="/agreement/mia/yes"')[2].partition("</form>")[0]
        sent = dict(findall('type="hidden" name="([a-z]+)" value="([^"]*)"', form))
        assert browser.post("/agreement/mia/yes", data=sent).status_code == 303
    standing = house.agreements.standing("mia")
    assert standing.is_agreed
    assert standing.agreement.promises == Promises(names=("table",), words="On Sundays we play.", months=6)


def test_a_change_after_the_yes_is_named_and_both_say_yes_again(house: House) -> None:
    house.parent_says_yes()
    house.child_says_yes()
    house.edit('budget: 1h, block: [roblox], bedtime: "21:00-07:00"', 'budget: 2h, bedtime: "20:00-07:00"')
    for page, address in (("/device/rules", MIA), ("/agreement/mia", "127.0.0.1")):
        text = house.page(page, address)
        for words in ("What has changed since you said yes", "every day 120 min", "20:00–07:00"):
            assert words in text, page
    assert not house.agreements.standing("mia").is_agreed
    house.child_says_yes()
    house.parent_says_yes()
    assert house.agreements.standing("mia").is_agreed
    assert house.agreements.standing("mia").agreement.round == 2


def test_after_three_months_both_are_reminded_once(house: House) -> None:
    house.clock.now = NOW - 95 * DAY_S
    house.parent_says_yes()
    house.child_says_yes()
    house.notices.clear()
    house.agreements.remind()
    assert house.notices == []
    house.clock.now = NOW
    for _ in range(2):
        house.agreements.remind()
    assert [notice.text(language("en")) for notice in house.notices] == [
        "It is time to look at the rules with mia again."
    ]
    assert "It is time to look at our rules together again." in house.page("/device", MIA)
    assert "It is time to look at the rules with mia again." in house.page("/")
    assert "tom" not in house.notices[0].text(language("en"))
    house.child_says_yes()
    house.parent_says_yes()
    assert house.agreements.standing("mia").is_agreed
    assert "It is time to look" not in house.page("/device", MIA)


def _wait(house: House, path: str, address: str = "127.0.0.1") -> str:
    with house.browser(address) as browser:
        return unescape(browser.post(f"{path}/wait", follow_redirects=True).text)


@pytest.mark.parametrize(("path", "address"), [("/device/rules", MIA), ("/agreement/mia", "127.0.0.1")])
def test_either_side_alone_puts_a_look_that_is_due_off_by_thirty_days(house: House, path: str, address: str) -> None:
    house.clock.now = NOW - 95 * DAY_S
    house.parent_says_yes()
    house.child_says_yes()
    first = house.agreements.standing("mia").agreement.look_at
    _wait(house, path, address)
    assert house.agreements.standing("mia").agreement.look_at == first, "it is not due yet"
    house.clock.now = NOW
    house.agreements.remind()
    for page, reader in (("/device/rules", MIA), ("/agreement/mia", "127.0.0.1")):
        assert "30 days longer" in house.page(page, reader)
    for _ in range(2):
        assert "ook at the rules again" in _wait(house, path, address)
    standing = house.agreements.standing("mia")
    assert not standing.is_due
    assert standing.agreement.look_at == pytest.approx(NOW + 30 * DAY_S, abs=DAY_S)
    house.clock.now = NOW + 31 * DAY_S
    house.notices.clear()
    house.agreements.remind()
    assert len(house.notices) == 1, "both are reminded again"


def test_the_parents_hear_that_the_child_would_rather_look_later(house: House) -> None:
    house.clock.now = NOW - 95 * DAY_S
    house.parent_says_yes()
    house.child_says_yes()
    house.clock.now = NOW
    agreements = house.agreements
    agreements.wait(Side.PARENT, "mia")
    assert house.notices == []
    house.clock.now = NOW + 40 * DAY_S
    agreements.wait(Side.CHILD, "mia")
    agreements.wait(Side.CHILD, "mia")
    (notice,) = house.notices
    assert notice.text(language("en")) == "mia would rather look at your rules 30 days later."


@pytest.mark.parametrize("address", [ANA, STRANGER, TOM])
def test_nobody_else_puts_a_childs_look_off(house: House, address: str) -> None:
    house.clock.now = NOW - 95 * DAY_S
    house.parent_says_yes()
    house.child_says_yes()
    house.clock.now = NOW
    _wait(house, "/device/rules", address)
    assert house.agreements.standing("mia").is_due


def test_a_clock_that_was_ahead_keeps_nobody_from_saying_yes_again(house: House) -> None:
    agreements, seen = house.agreements, house.agreements.standing("mia").terms.digest
    house.clock.now = NOW + 400 * DAY_S
    agreements.say_yes(Side.PARENT, "mia", seen=seen, promises=Promises())
    agreements.say_yes(Side.CHILD, "mia", seen=seen)
    house.clock.now = NOW
    house.edit("budget: 1h", "budget: 2h")
    house.parent_says_yes()
    house.child_says_yes()
    standing = house.agreements.standing("mia")
    assert standing.is_agreed
    assert standing.agreement.look_at < NOW + 100 * DAY_S


def test_a_yes_to_what_has_changed_meanwhile_is_refused(house: House) -> None:
    seen = house.agreements.standing("mia").terms.digest
    house.edit("budget: 1h", "budget: 2h")
    for answer in (house.child_says_yes(seen=seen), house.parent_says_yes(seen=seen)):
        assert answer.status_code == 422
        assert "The rules have changed since you opened this page." in unescape(answer.text)
        fresh = search('name="seen" value="([0-9a-f]+)"', answer.text)
        assert fresh is not None
        assert fresh[1] != seen, "the page that is shown again can be sent"
    assert house.agreements.standing("mia").agreement.version == 0


@pytest.mark.parametrize(
    ("field", "value"), [("months", "0"), ("months", "-3"), ("months", "x"), ("months", ""), ("promise", "money")]
)
def test_made_up_values_are_refused_and_change_nothing(house: House, field: str, value: str) -> None:
    assert house.parent_says_yes(**{field: value}).status_code == 422
    assert house.agreements.standing("mia").agreement.version == 0


@pytest.mark.parametrize("address", [ANA, STRANGER])
def test_only_the_child_itself_says_yes_as_the_child(house: House, address: str) -> None:
    assert house.child_says_yes(address).status_code == 422
    assert house.agreements.store.all() == ()


def test_a_device_that_only_claims_its_name_is_not_the_child(house: House) -> None:
    view = house.web.control.devices[MIA]
    assert view is not None
    house.web.control.devices[MIA] = DeviceView(view.device, "mia", view.profile, grade=Grade.HOST_NAME)
    assert house.child_says_yes().status_code == 422
    assert "Our rules" not in house.page("/device", MIA)


def test_the_pages_of_brother_and_sister_show_nothing_of_each_other(house: House) -> None:
    house.parent_says_yes(words="Only for mia.")
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda address: house.child_says_yes(address).text, (MIA, TOM))
    assert "Only for mia." in one
    assert "Only for mia." not in other
    assert "Netflix" in other
    assert "Roblox" not in house.page("/device/rules", TOM)
    assert house.agreements.standing("mia").is_agreed
    assert not house.agreements.standing("tom").is_agreed


def test_of_two_parents_at_once_one_is_asked_to_look_again(house: House) -> None:
    seen = house.agreements.standing("mia").terms.digest

    def answer(words: str) -> int:
        return house.parent_says_yes(seen=seen, words=words).status_code

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(answer, ("One.", "Two."))) == [200, 422]
    assert house.agreements.standing("mia").agreement.version == 1


def test_two_machines_that_write_at_once_lose_nothing(house: House) -> None:
    one, other = house.agreements, house.agreements
    before = one.standing("mia").agreement
    one.say_yes(Side.CHILD, "mia", seen=one.standing("mia").terms.digest)
    with pytest.raises(InvalidInput, match="have changed"):
        other.store.save(before)


def test_a_person_who_is_removed_or_grown_up_has_no_agreement(house: House) -> None:
    with pytest.raises(InvalidInput, match="no rules of a child"):
        house.agreements.standing("Ana")
    house.parent_says_yes()
    house.child_says_yes()
    house.edit("age: 9", "profile: adult")
    house.clock.now = NOW + 400 * DAY_S
    house.agreements.remind()
    house.clock.now = NOW
    assert house.notices == []
    assert "Our rules" not in house.page("/")
    assert house.parent_says_yes(seen="x").status_code == 422


def test_facts_are_kept_and_compared_in_any_language() -> None:
    old = parse_policy(HOUSE.encode(), None)
    new = parse_policy(
        b"""
people:
  mia:
    age: 9
    allow: [scratch.mit.edu]
    block: [tiktok]
    privacy: full
    youtube: strict
    schedules: {homework: {block: [games], when: {mon: "15:00-16:00"}}}
    budget: {youtube: {school-days: 30m, weekend: 1h, week: 3h}}
""",
        None,
    )
    before, after = facts_of(old, "mia", NOW), facts_of(new, "mia", NOW)
    for facts in (before, after):
        assert RuleFacts.from_json(facts.to_json()) == facts
    found = difference(before, after, language("en"))
    assert found.opened == ("Roblox", "scratch.mit.edu")
    assert found.settings == (
        "What is stored: The sites and pages requested, and what was decided.",
        "There is no bedtime.",
        "YouTube: Monday–Friday 30 min; Saturday and Sunday 60 min; 180 minutes a week",
        "Everything together: no limit",
        "homework: Closed: Games, Monday 15:00–16:00",
    )
    back = difference(after, before, language("en"))
    assert "homework: no longer" in back.settings
    assert "No longer always open: scratch.mit.edu" in back.settings
    assert RuleFacts.from_json("{") is None
    assert not difference(after, after, language("en"))


def test_promises_that_are_the_same_are_the_same_terms(house: House) -> None:
    one = house.agreements.standing("mia").terms
    assert one.digest == house.agreements.standing("mia").terms.digest
    assert Promises(names=("a",)) != Promises(names=("b",))
