"""The guide of the first start: the setup code, a phone, refused forms, and devices that nobody has named."""

import asyncio
import re
from dataclasses import replace

import httpx
import pytest
from web_server import SETUP_CODE, TOKEN

from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.dashboards.passwords import SetupCode
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.host_facts import Lifeline
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import BlockedAnswer, ListSelection
from hedgerow.policies.reading.load import load_policy

PASSWORD = "four words and more"
PHONE, TABLET, OUTSIDER = "127.0.0.21", "127.0.0.22", "127.0.0.99"
HELPLINE = Lifeline("A helpline", "PT", "https://help.example/", (), phone="116 111")


def browser(web, address="127.0.0.1", **headers):
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=30, headers={"origin": web.url} | headers
    )


def password(client, **form):
    return client.post("/start/password", data={"name": "Ana", "password": PASSWORD, "code": SETUP_CODE} | form)


def fields(page, marked_with, attribute):
    """Return an attribute of the inputs and selects of a page that have another one."""
    tags = re.findall(r"<(?:input|select)\b[^>]*>", page)
    return [match[1] for tag in tags if marked_with in tag and (match := re.search(f'{attribute}="([^"]*)"', tag))]


@pytest.fixture
def house(new_web):
    """A web server without a policy file and password, and two devices without a name."""
    new_web.policy_path.unlink()
    for address in (PHONE, TABLET):
        new_web.control.devices[address] = DeviceView(DeviceId(address), None, "child-8-12", (HELPLINE,))
    return new_web


def test_a_phone_without_a_name_does_the_whole_guide(house):
    house.recorder.add(
        [DeviceSeen(house.accounts.clock(), DeviceId(TABLET), TABLET, None, None, "child-8-12", "Mias-iPad")]
    )
    house.recorder.flush()
    agent = "Mozilla/5.0 (Linux; Android 15) Mobile"
    with browser(house, PHONE, **{"user-agent": agent}) as phone:
        assert phone.get("/").headers["location"] == "/start"
        assert password(phone).headers["location"] == "/start/place"
        phone.post("/start/place", data={"country": "PT", "zone": "Europe/Lisbon"})
        assert 'value="Ana"' in phone.get("/start/people").text, "the row of the one who set the password"
        phone.post("/start/people", data={"name-0": "Ana", "adult-0": "yes", "name-1": "Mia", "age-1": "9"})
        page = phone.get("/start/devices").text
        checked = [part.split(">")[0] for part in page.split("<input")[1:] if "checked" in part.split(">")[0]]
        assert [part.split('value="')[1].split('"')[0] for part in checked] == ["Ana", "Mia"], (
            "this phone is Ana's, and a name tells the owner"
        )
        form = {
            "device-0": PHONE,
            "person-0": "Ana",
            "called-0": "Ana phone",
            "device-1": TABLET,
            "person-1": "Mia",
            "called-1": "Mias-iPad",
        }
        assert phone.post("/start/devices", data=form).headers["location"] == "/start/done"
        assert 'value="Ana phone"' in page
        sheet = phone.get("/start/children").text
    assert all(text in sheet for text in ("Mia", "/device</b>", "116 111", "Ask for a site"))
    policy = load_policy(house.policy_path)
    assert {name: person.profile for name, person in policy.people.items()} == {"Ana": "adult", "Mia": "child-8-12"}
    assert {name: device.person for name, device in policy.devices.items()} == {"Ana phone": "Ana", "Mias-iPad": "Mia"}


@pytest.mark.parametrize(
    ("zone", "stated", "place"),
    [
        ("Europe/Lisbon", "", ("PT", "Europe/Lisbon")),
        ("Asia/Calcutta", "", ("IN", "Asia/Kolkata")),  # the name that some browsers use
        ("Europe/Paris", "{timezone: Europe/Brussels}", ("BE", "Europe/Brussels")),
        ("Europe/Paris", "{country: CH}", ("CH", "Europe/Paris")),
        *((zone, "", None) for zone in ("", "UTC", "Etc/GMT+1", "../../etc/passwd", "Mars/Olympus")),
    ],
)
def test_the_browsers_time_zone_answers_the_step_of_the_place(house, zone, stated, place):
    if stated:
        house.policy_path.write_text(f"network: {stated}\n")
    with browser(house) as desk:
        step = "people" if place is not None else "place"
        assert password(desk, zone=zone).headers["location"] == f"/start/{step}"
        if place is not None:
            network = load_policy(house.policy_path).network
            assert (network.country, network.timezone) == place
            assert place[1].replace("_", " ") in desk.get("/start/people").text
        assert desk.get("/start/place").text.count("selected") <= 2


@pytest.mark.parametrize("address", ["127.0.0.1", PHONE])
def test_the_first_password_needs_the_code_from_everybody(house, address):
    with browser(house, address) as client:
        for code in ("", "AAAA-AAAA", SETUP_CODE[:-1], SETUP_CODE + "A", "é" * 8):
            refused = password(client, code=code)
            assert refused.status_code == 403, code
            assert 'value="Ana"' in refused.text, "nothing typed is lost"
            assert PASSWORD not in refused.text
            assert "hedgerow_session" not in refused.headers.get("set-cookie", "")
    assert not house.accounts.has_any


def test_the_code_is_read_as_people_type_it(house):
    with browser(house, PHONE) as client:
        assert password(client, code=" testc xdehj ").status_code == 303


def test_the_guide_is_not_for_strangers(house):
    with browser(house, OUTSIDER) as client:
        assert client.get("/start").status_code == 403
        assert password(client).status_code == 403
        assert client.post("/start/people", data={"name-0": "Eve", "age-0": "40"}).status_code == 403
    assert not house.accounts.has_any


def test_only_the_command_line_learns_the_code(house):
    with browser(house) as client:
        assert client.get("/api/v1/setup").status_code == 401
        assert "CXDE" not in client.get("/api/v1/setup").text + client.get("/start").text
        account = {"name": "eve", "role": "admin", "password": PASSWORD}
        assert client.post("/api/v1/accounts", json=account).status_code == 401, "nor does the API go round it"
        assert not house.accounts.has_any
        script = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/v1/setup", headers=script).json()["code"] == SETUP_CODE
        assert client.post("/api/v1/accounts", json=account, headers=script).status_code == 201
        assert client.get("/api/v1/setup", headers=script).json()["code"] == "", "the first account ends it"
    with browser(house, PHONE) as client:
        assert password(client).status_code == 403


def test_tokens_from_before_the_first_password_are_worthless(house):
    token = asyncio.run(house.accounts.make_token("early", ("manage",), "this machine"))
    with browser(house) as client:
        password(client)
        assert house.accounts.principal_of_token(token) is None


def test_of_two_people_who_know_the_code_one_sets_the_password(house):
    async def both():
        tries = (house.accounts.create_first(name, PASSWORD, SETUP_CODE, PHONE, "") for name in ("Ana", "Eve"))
        return await asyncio.gather(*tries, return_exceptions=True)

    results = asyncio.run(both())
    assert [type(result) for result in results] == [str, InvalidInput]
    assert [row.name for row in house.accounts.accounts()] == ["Ana"]


def test_strangers_with_wrong_codes_lock_nobody_out(house):
    with browser(house, TABLET) as stranger, browser(house, PHONE) as parent:
        refused = {password(stranger, code=f"AAAAA-{number:05}").status_code for number in range(100)}
        assert refused == {403}
        assert password(parent).status_code == 303


def test_a_setup_code_is_hard_to_guess_and_easy_to_type():
    code = SetupCode().text
    assert re.fullmatch(r"[A-HJKMNP-Z2-9]{5}-[A-HJKMNP-Z2-9]{5}", code)
    assert SetupCode().text != code
    assert SetupCode("ABCDEFGHJK").accepts(" abcde-fghjk")
    assert not SetupCode("ABCDEFGHJK").accepts("ABCDE")


@pytest.mark.parametrize(
    ("step", "form", "field", "kept"),
    [
        ("place", {"country": "PT", "zone": "../../etc/passwd"}, "zone", 'value="PT" selected'),
        ("people", {"name-1": "Mia", "age-1": "nine", "name-2": "Tom", "age-2": "15"}, "age-1", 'value="Tom"'),
        ("people", {"name-1": "Mia"}, "age-1", 'value="Mia"'),
        ("people", {"name-1": "m: {a}", "age-1": "9"}, "name-1", 'value="m: {a}"'),
        ("devices", {"device-0": PHONE, "person-0": "Mia", "called-0": "*"}, "called-0", 'value="*"'),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_marks_the_field(house, step, form, field, kept):
    with browser(house, PHONE) as client:
        password(client)
        if step == "devices":
            client.post("/start/people", data={"name-1": "Mia", "age-1": "9"})
        refused = client.post(f"/start/{step}", data=form)
    assert refused.status_code == 422
    marked = [
        part.split(">")[0]
        for part in refused.text.replace("<select", "<input").split("<input")[1:]
        if "aria-invalid" in part.split(">")[0]
    ]
    assert [part.split('name="')[1].split('"')[0] for part in marked] == [field]
    assert kept in refused.text
    assert 'role="alert"' in refused.text


def test_a_device_that_may_not_manage_learns_how_to_go_on(house):
    with browser(house) as desk:
        password(desk)
    with browser(house, PHONE) as client:
        for path in ("/", "/people", "/sign-in", "/start", "/nowhere"):
            page = client.get(path)
            assert page.status_code == 403, path
            assert all(text in page.text for text in (PHONE, "whose device", "/device#ask", "116 111", "signed in")), (
                path
            )
        assert client.get("/api/v1/status").json()["detail"] == "This page is for the people who manage this network."
    with browser(house, OUTSIDER) as client:
        stranger = client.get("/")
        assert (stranger.status_code, OUTSIDER in stranger.text, "116 111" in stranger.text) == (403, False, False)


def test_the_last_step_shows_the_public_lists_and_the_choice(house):
    """The guide says whether more than the starter list filters."""
    starter = ListHealth("starter/adult", "adult", 117, starter=True)
    public = ListHealth("hagezi-nsfw", "adult", 0, is_remote=True, waiting=True)

    def lists(*rows, starter_only=False):
        coverage = coverage_by_category(rows, {}, {"adult"})
        house.change_status(
            lists=rows, coverage=coverage, recommended=("hagezi-nsfw", "oisd-nsfw"), starter_only=starter_only
        )

    with browser(house) as client:
        password(client)
        lists(starter, public)
        page = client.get("/start/done").text
        assert "Public lists: 0 of 1 in force. The others are being fetched." in page
        assert 'data-live="lists" data-source="/lists/guide"' in page, "the page keeps up with the downloads"
        assert "Public lists: 0 of 1 in force." in client.get("/lists/guide").text
        assert [
            licence in page for licence in ("GPL-3.0", "https://oisd.nl/", "https://github.com/hagezi/dns-blocklists")
        ] == [True] * 3
        chosen = client.post(
            "/lists/selection", data={"lists": "starter"}, headers={"referer": f"{house.url}/start/done"}
        )
        assert chosen.headers["location"] == "/start/done"
        assert load_policy(house.policy_path).network.lists is ListSelection.STARTER
        lists(starter, starter_only=True)
        page = client.get("/start/done").text
        assert "by choice" in page
        assert "GPL-3.0" in page, "licences are shown before the first download too"
        assert 'value="recommended"' in page
        lists(starter, replace(public, domains=111_000, waiting=False))
        page = client.get("/start/done").text
        assert "Public lists: 1 of 1 in force." in page
        assert "Hedgerow is set up" not in page, "no device has used it"


@pytest.mark.parametrize(
    ("place", "stated", "reaches", "answer"),
    [
        ("192.168.1.2", "", "yes", BlockedAnswer.PAGE),
        ("192.168.1.2", "", "", BlockedAnswer.ZERO),  # the phone reached one port only, or runs no scripts
        ("", "", "yes", BlockedAnswer.ZERO),  # other programs have the ports
        ("192.168.1.2", "nxdomain", "yes", BlockedAnswer.NXDOMAIN),
    ],
)
def test_blocked_sites_lead_to_the_page_that_the_phone_reached(house, place, stated, reaches, answer):
    house.change_status(block_page=place)
    with browser(house) as desk:
        password(desk)
        desk.post("/start/place", data={"country": "PT", "zone": "Europe/Lisbon"})
        if stated:
            policy = house.policy_path.read_text()
            house.policy_path.write_text(policy.replace("network:", f"network:\n  blocked_answer: {stated}", 1))
        page = desk.get("/start/people")
        may_try = bool(place) and not stated
        assert ("data-reaches" in page.text) is may_try
        assert ("http://192.168.1.2" in page.headers["content-security-policy"]) is may_try
        desk.post("/start/people", data={"name-0": "Mia", "age-0": "9", "reaches": reaches})
        assert load_policy(house.policy_path).network.resolver.blocked_answer is answer
        assert ("show a page that says why" in desk.get("/start/done").text) is (answer is BlockedAnswer.PAGE)


def test_the_settings_tell_whether_the_page_is_shown(house):
    with browser(house) as desk:
        password(desk)
        assert "Show the page" in desk.get("/settings").text
        desk.post("/settings/block-page", data={"on": "true"})
        assert "when Hedgerow starts again" in desk.get("/settings").text, "this run has no ports for it"
        house.change_status(block_page="192.168.1.2")
        assert "Switched on, at the ports 80 and 443 of 192.168.1.2" in desk.get("/settings").text
        desk.post("/settings/block-page", data={"on": "false"})
        resolver = load_policy(house.policy_path).network.resolver
        assert (resolver.blocked_answer, resolver.reserves_page) == (BlockedAnswer.ZERO, False)


def test_the_printed_sheet_names_no_harsh_topics_at_any_age(web):
    web.policy_path.write_text("people: {mia: {age: 9}, tom: {age: 15}, Ana: {profile: adult}}\n")
    with browser(web, authorization=f"Bearer {TOKEN}") as local:
        sheets = {name: local.get(f"/start/children?of={name}").text for name in ("mia", "tom")}
    mia, tom = (text[text.index(f"<h3><bdi>{name}</bdi>") + 3 :].partition("<h")[0] for name, text in sheets.items())
    assert "Social networks" in mia
    for sheet in (mia, tom):
        assert "sites for adults, things that can hurt you" in sheet
        assert not re.search("Pornography|Self-harm|Drugs|Illegal|Gambling|Violence", sheet)


def test_the_page_of_lists_shows_problems_and_folds_the_rest(web):
    good = tuple(ListHealth(f"list-{number}", "adult", 10, 0.0) for number in range(12))
    web.change_status(
        lists=(*good, ListHealth("broken", "adult", 10, 0.0, "the server answers 404", is_remote=True, failed=True))
    )
    with browser(web, authorization=f"Bearer {TOKEN}") as local:
        page = local.get("/lists").text
    above, _, folded = page.partition('id="in-force"')
    assert "<bdi>broken</bdi>" in above
    assert "<bdi>broken</bdi>" not in folded
    assert "<bdi>list-11</bdi>" in folded.partition(">")[2]
    assert not folded.startswith(" open")


@pytest.mark.parametrize(("devices", "has_pages"), [("", False), ("devices: {tablet: {ip: 192.168.1.31}}\n", True)])
def test_a_step_that_is_visited_again_leads_to_the_other_pages(web, devices, has_pages):
    """*Connect* is reached from *More*, too, where nobody is in the middle of the guide."""
    web.policy_path.write_text(f"people: {{mia: {{age: 9}}}}\n{devices}")
    page = httpx.get(f"{web.url}/start/connect", verify=False, trust_env=False, timeout=60)
    assert page.status_code == 200
    assert ('href="/more"' in page.text) is has_pages


IN_FIRST_FIELD = "[autofocus]:focus"


@pytest.mark.browser
def test_the_key_next_goes_through_the_fields_of_a_phone(chromium, house):
    """Nothing is tapped but the box of an adult and the buttons. An Indian browser says the older name of its zone."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, locale="en-GB", timezone_id="Asia/Calcutta")
    page = context.new_page()
    page.goto(f"{house.url}/start#{SETUP_CODE}")
    page.keyboard.type("Ana")
    page.keyboard.press("Enter")
    page.keyboard.type(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/start/people")
    page.locator(IN_FIRST_FIELD).wait_for()
    for text in ("Mia", "9", "Tom", "15"):
        page.keyboard.type(text)
        page.keyboard.press("Enter")
    page.keyboard.type("Ben")
    page.locator("[name=adult-3]").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/start/connect")
    assert {name: person.age for name, person in load_policy(house.policy_path).people.items()} == {
        "Ana": None,
        "Mia": 9,
        "Tom": 15,
        "Ben": None,
    }
    page.goto(f"{house.url}/start/place")
    assert page.locator("[name=zone]").input_value() == "Asia/Kolkata"
    context.close()
