"""Bad input of every kind: what was refused is said in a sentence, and the next step is on the page and works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until
from web_server.walking import PageReader

ANA, BEN, MIA, VISITOR, CLEO = (f"127.0.0.{number}" for number in (21, 22, 23, 24, 25))
PASSWORD = "four words and more"
PEOPLE = """
people:
  Ana: {age: 41, devices: [ana-phone]}
  Ben: {age: 43, devices: [ben-phone]}
  Cleo: {age: 68, devices: [cleo-phone]}
  Mia: {age: 9, devices: [mia-tablet], block: [reddit]}
  Tom: {age: 13}
devices:
  ana-phone: {ip: 127.0.0.21}
  ben-phone: {ip: 127.0.0.22}
  mia-tablet: {ip: 127.0.0.23}
  cleo-phone: {ip: 127.0.0.25}
"""


class Browsers(dict[str, httpx.Client]):
    """A browser without JavaScript at each address, made when it is first used."""

    def __init__(self, house: Hedgerow, stack: ExitStack) -> None:
        super().__init__()
        self._house, self._stack = house, stack

    def __missing__(self, address: str) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        headers = {"origin": self._house.web, "accept": "text/html", "accept-language": "en"}
        client = httpx.Client(
            base_url=self._house.web, transport=transport, trust_env=False, timeout=60, headers=headers
        )
        self[address] = self._stack.enter_context(client)
        return client

    def sign_in(self, address: str) -> httpx.Client:
        answer = self[address].post("/sign-in", data={"name": "owner", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return self[address]


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet, lan=("127.0.0.0/16",)) + "  country: GB\n" + PEOPLE
    with running_hedgerow(policy) as running:
        assert running.cookies
        yield running


@pytest.fixture
def browsers(house: Hedgerow) -> Iterator[Browsers]:
    with ExitStack() as stack:
        yield Browsers(house, stack)


def check(client: httpx.Client, answer: httpx.Response, status: int, says: str, on: str) -> None:
    """Check a refusal: its status and words, and that the link or form `on` is there and its page opens.

    `on` of a form that can be sent again is its action.
    """
    page = PageReader(answer.text)
    assert answer.status_code == status, (answer.status_code, page.text[:500])
    assert says in page.text, page.text[:800]
    assert not re.search(r"Traceback|Something went wrong inside|\{|\bNone\b", page.text), page.text[:800]
    forms = [form.action for form in page.forms if form.buttons]
    assert on in page.links or on in forms, (page.links, forms)
    if on in page.links:
        assert client.get(on.partition("#")[0], follow_redirects=True).status_code == 200, on


def test_wrong_passwords_and_codes_can_be_typed_again(browsers: Browsers) -> None:
    ana, visitor = browsers[ANA], browsers[VISITOR]
    wrong = {"name": "owner", "password": "not this one"}
    check(ana, ana.post("/sign-in", data=wrong), 403, "Wrong name or password", "/sign-in")
    check(ana, ana.post("/sign-in", data={"name": "nobody", "password": "x"}), 403, "Wrong name", "/sign-in")
    check(ana, ana.post("/sign-in"), 403, "Wrong name", "/sign-in")
    named = visitor.post("/device/name", data=wrong | {"person": "Tom", "device": "toms-phone"})
    check(visitor, named, 403, "Wrong name or password", "/device/name")
    code = browsers[MIA].post("/device/code", data={"code": "000000"})
    check(browsers[MIA], code, 422, "code", "/device/code")


def test_after_the_first_password_the_setup_code_leads_to_signing_in(browsers: Browsers, house: Hedgerow) -> None:
    ana = browsers[ANA]
    again = ana.post("/start/password", data={"name": "eve", "password": "another four words", "code": "WRONG-CODES"})
    assert again.headers.get("location") == "/sign-in" or "/sign-in" in PageReader(again.text).links, again.text[:500]
    assert ana.get("/start", follow_redirects=True).url.path == "/sign-in"


@pytest.mark.parametrize("path", ["/people/Tom", "/log", "/settings", "/report", "/start", "/start/people", "/why"])
def test_a_child_on_a_parents_page_is_led_to_its_own(browsers: Browsers, path: str) -> None:
    mia = browsers[MIA]
    check(mia, mia.get(path), 403, "This page is for the people who manage this network.", "/device#ask")


def test_a_child_at_the_parents_address_comes_to_its_own_page(browsers: Browsers) -> None:
    answer = browsers[MIA].get("/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/device")
    assert "The other page is for grown-ups. This one is yours." in answer.text
    assert "for grown-ups. This one" not in browsers[MIA].get("/device").text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/pause", {"person": "Tom"}),
        ("/resume", {}),
        ("/people/Mia/remove", {}),
        ("/requests/1/approve", {}),
        ("/start/people", {"name-0": "Eve"}),
    ],
)
def test_a_childs_form_for_parents_changes_nothing_and_leads_on(
    browsers: Browsers, path: str, form: dict[str, str]
) -> None:
    mia = browsers[MIA]
    check(mia, mia.post(path, data=form), 403, "This page is for the people who manage this network.", "/device")


@pytest.mark.parametrize("site", ["", "roblox or so", "http://", "..", "x" * 250])
def test_what_a_child_asks_badly_can_be_asked_again(browsers: Browsers, site: str) -> None:
    mia = browsers[MIA]
    answer = mia.post("/device/ask", data={"site": site})
    check(
        mia, answer, 422, "Type the address of the site, such as scratch.mit.edu, or the name of an app.", "/device/ask"
    )


def test_a_child_asks_for_what_is_open_and_for_what_cannot_be_asked(browsers: Browsers) -> None:
    mia = browsers[MIA]
    check(mia, mia.post("/device/ask", data={"site": "en.wikipedia.org"}), 422, "is open here", "/device/ask")


@pytest.mark.parametrize("path", ["/no-such-page", "/people/Nobody", "/why?row=999999", "/log?day=2001-01-01"])
def test_an_old_bookmark_leads_to_today(browsers: Browsers, path: str) -> None:
    ana = browsers.sign_in(ANA)
    answer = ana.get(path)
    if answer.status_code == 200:
        return
    page = PageReader(answer.text)
    assert answer.status_code in (404, 422)
    assert any(link in page.links for link in ("/", "/people", "/log")), page.links


def test_a_session_that_ended_leads_to_signing_in(browsers: Browsers) -> None:
    ana = browsers.sign_in(ANA)
    ana.cookies.clear()
    answer = ana.post("/pause", data={"person": "Tom"})
    on = "/sign-in"
    assert answer.headers.get("location") == on or on in PageReader(answer.text).links, answer.text[:600]
    page = ana.get("/people/Tom")
    assert page.headers.get("location") == on or on in PageReader(page.text).links, page.text[:600]


def test_a_form_of_another_site_says_how_to_go_on(browsers: Browsers) -> None:
    ana = browsers.sign_in(ANA)
    answer = ana.post("/pause", data={"person": "Tom"}, headers={"origin": "http://evil.example"})
    check(ana, answer, 403, "Go back, and use the button on the page.", "/")


def test_two_parents_answer_the_same_request(browsers: Browsers) -> None:
    ana, ben, mia = browsers.sign_in(ANA), browsers.sign_in(BEN), browsers[MIA]
    assert mia.post("/device/ask", data={"site": "reddit"}).status_code == 303
    both = [PageReader(each.get("/").text) for each in (ana, ben)]
    (path,) = {form.action for form in both[0].forms if form.action.endswith("/deny")}
    assert path in {form.action for form in both[1].forms}
    assert ana.post(path, headers={"referer": f"{ana.base_url}/"}).status_code == 303
    late = ben.post(path.replace("/deny", "/approve"), data={"for": "hour"}, headers={"referer": f"{ben.base_url}/"})
    check(ben, late, 404, "somebody has answered or removed it", "/")


def test_two_parents_change_the_same_child_at_once(browsers: Browsers, house: Hedgerow) -> None:
    ana, ben = browsers.sign_in(ANA), browsers.sign_in(BEN)
    for each in (ana, ben):
        assert each.post("/pause", data={"person": "Tom"}).status_code == 303
    assert ana.post("/resume", data={"person": "Tom"}).status_code == 303
    again = ben.post("/resume", data={"person": "Tom"}, headers={"referer": f"{ben.base_url}/"})
    if again.status_code != 303:
        check(ben, again, 422, "paused", "/")
    added = [each.post("/people", data={"name": "Zoe", "age": "6"}) for each in (ana, ben)]
    assert added[0].status_code == 303, added[0].text[:500]
    check(ben, added[1], 422, "Zoe", "/people")
    assert ana.post("/people/Zoe/remove", data={"sure": "yes"}).status_code == 303
    wait_until(lambda: "Zoe" not in house.policy_path.read_text(), 30)
    late = ben.post("/people/Zoe/budget", data={"weekday": "60"}, headers={"referer": f"{ben.base_url}/people/Zoe"})
    check(ben, late, 422, "The policy has no person called 'Zoe'.", "/")


def test_two_parents_end_the_same_permission(browsers: Browsers) -> None:
    ana, ben = browsers.sign_in(ANA), browsers.sign_in(BEN)
    given = ana.post("/grants/new", data={"subject": "reddit", "person": "Mia", "for": "hour"})
    assert given.status_code == 303, given.text[:500]
    pages = [PageReader(each.get("/day").text) for each in (ana, ben)]
    (path,) = {form.action for form in pages[0].forms if form.action.endswith("/revoke")}
    assert path in {form.action for form in pages[1].forms}
    assert ana.post(path, headers={"referer": f"{ana.base_url}/day"}).status_code == 303
    late = ben.post(path, headers={"referer": f"{ben.base_url}/day"})
    check(ben, late, 404, "somebody has answered or removed it", "/")


def test_two_parents_name_the_same_new_device(browsers: Browsers, house: Hedgerow) -> None:
    ana, ben = browsers.sign_in(ANA), browsers.sign_in(BEN)
    browsers[VISITOR].get("/device")
    form = {"device": VISITOR, "name": "toms-phone", "person": "Tom"}
    first, second = (each.post("/devices/name", data=form) for each in (ana, ben))
    assert first.status_code == 303, first.text[:500]
    if second.status_code != 303:
        check(ben, second, 422, "toms-phone", "/devices")
    assert house.policy_path.read_text().count("toms-phone:") == 1


def test_too_many_wrong_passwords_say_when_to_try_again(browsers: Browsers) -> None:
    cleo = browsers[CLEO]
    tries = [cleo.post("/sign-in", data={"name": "cleo", "password": f"guess {number}"}) for number in range(8)]
    check(cleo, tries[0], 403, "Wrong name or password", "/sign-in")
    check(cleo, tries[-1], 429, "Try again in", "/sign-in")


def test_a_step_of_the_guide_sent_twice_or_too_early_goes_on(whole_internet: SmallInternet) -> None:
    policy = network_section(whole_internet, lan=("127.0.0.0/16",))
    with running_hedgerow(policy) as fresh, ExitStack() as stack:
        phone = Browsers(fresh, stack)[ANA]
        password = {"name": "Ana", "password": PASSWORD, "code": fresh.setup_code}
        made = phone.post("/start/password", data=password)
        assert made.headers["location"] == "/start/place"
        again = phone.post("/start/password", data=password)
        assert again.headers.get("location") or PageReader(again.text).links, again.text[:500]
        for step in ("people", "devices", "connect", "done", "nonsense"):
            assert phone.get(f"/start/{step}", follow_redirects=True).status_code == 200, step
        place = {"country": "PT", "zone": "Europe/Lisbon"}
        check(phone, phone.post("/start/place", data={"country": "XX", "zone": "Nowhere"}), 422, "", "/start/place")
        assert [phone.post("/start/place", data=place).status_code for _ in range(2)] == [303, 303]
        people = {"name-0": "Ana", "adult-0": "yes", "name-1": "Mia", "age-1": "9"}
        answers = [phone.post("/start/people", data=people) for _ in range(2)]
        assert answers[0].status_code == 303
        if answers[1].status_code != 303:
            check(phone, answers[1], 422, "Mia", "/start/people")
        assert fresh.policy_path.read_text().count("Mia:") == 1
        assert phone.get("/", follow_redirects=True).status_code == 200
