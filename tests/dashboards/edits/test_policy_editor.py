"""The guide, signing in, and changes of the policy file with undo."""

import os
import re

import httpx
import pytest
from web_server import NOW, SETUP_CODE

from hedgerow.dashboards.control import DeviceView
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.policy_history import PolicyHistory
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.reading.load import load_policy

PASSWORD = "four words and more"
TV = DeviceId("b8:27:eb:11:22:33")
PHONE = "127.0.0.9"


def client(web, address="127.0.0.1"):
    return httpx.Client(
        base_url=web.url,
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        trust_env=False,
        timeout=30,
        headers={"origin": web.url},
    )


def post(browser, path, **form):
    answer = browser.post(path, data=form)
    assert answer.status_code == 303, answer.text
    return answer


def search(pattern, text):
    """Return the first group of `pattern` in `text`, which must match."""
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def policy(web):
    return load_policy(web.policy_path)


@pytest.fixture
def empty(new_web):
    """A web server without a policy file and password."""
    new_web.policy_path.unlink()
    return new_web


def test_the_guide_leads_from_nothing_to_a_safe_network(empty):
    empty.recorder.add([DeviceSeen(NOW, TV, "192.168.1.77", TV, None, "child-8-12", "telly")])
    empty.recorder.add([DeviceSeen(NOW, DeviceId("192.168.1.5"), "192.168.1.5", None, None, "child-8-12")])
    empty.recorder.flush()
    with client(empty) as browser:
        assert browser.get("/").headers["location"] == "/start"
        assert "Password, at least" in browser.get("/start/devices").text, "nobody gets past the password"
        assert (
            post(browser, "/start/password", name="ana", password=PASSWORD, code=SETUP_CODE).headers["location"]
            == "/start/place"
        )
        post(browser, "/start/place", country="PT", zone="Europe/Lisbon")
        post(browser, "/start/people", **{"name-0": "mia", "age-0": "9", "name-1": "Ana", "age-1": "41", "name-3": " "})
        page = browser.get("/start/devices").text
        assert "telly" in page
        assert "192.168.1.5" in page
        post(
            browser,
            "/start/devices",
            **{"device-0": TV, "person-0": "mia", "called-0": "", "device-1": "192.168.1.5", "person-1": "Ana"},
        )
        assert "Open <code>http://127.0.0.1:8053/check</code>" in browser.get("/start/done").text
        assert browser.get("/").status_code == 200
    found = policy(empty)
    assert (found.network.country, found.network.timezone) == ("PT", "Europe/Lisbon")
    assert {name: person.profile for name, person in found.people.items()} == {"mia": "child-8-12", "Ana": "adult"}
    assert {name: device.person for name, device in found.devices.items()} == {
        "mia device 1": "mia",
        "Ana device 1": "Ana",
    }
    assert found.devices["mia device 1"].macs == (TV,)


@pytest.mark.parametrize("text", ["05/2016", "5.2016", "2016-05", "201605", " 05 / 2016 "])
def test_a_month_of_birth_instead_of_an_age_in_the_guide_and_later(new_web, text):
    with client(new_web) as browser:
        post(browser, "/start/password", name="ana", password=PASSWORD, code=SETUP_CODE)
        post(browser, "/start/people", **{"name-0": "ida", "age-0": text, "name-1": "Ana", "age-1": "41"})
        post(browser, "/people", name="leo", age=text)
        for wrong in ("05/2999", "190001", "13/2016"):
            assert browser.post("/people", data={"name": "eve", "age": wrong}).status_code == 422
    found = policy(new_web).people
    known = {name: str(found[name].born or found[name].age) for name in ("ida", "Ana", "leo")}
    assert known == {"ida": "2016-05", "Ana": "41", "leo": "2016-05"}
    assert "eve" not in found


INVALID_STEPS = (
    ("/start/place", {"country": "XX", "zone": "Europe/Lisbon"}),
    ("/start/place", {"country": "PT", "zone": "../../etc/passwd"}),
    ("/start/people", {"name-0": "mia", "age-0": ""}),
    ("/start/people", {"name-0": "mia", "age-0": "nine"}),
    ("/start/people", {"name-0": "mia", "age-0": "9", "name-1": "mia", "age-1": "9"}),
    ("/start/people", {"name-0": "m: {a}", "age-0": "9"}),
    ("/start/people", {"name-0": "mia", "age-0": "05/2999"}),
    ("/start/people", {"name-0": "mia", "age-0": "190001"}),
    ("/start/people", {"name-0": "mia", "age-0": "13/2016"}),
    ("/start/people", {"name-0": "mia", "age-0": "2016"}),
    ("/start/devices", {"device-0": "not an address", "person-0": "mia"}),
    ("/start/devices", {"device-0": TV, "person-0": "nobody"}),
)


def test_an_invalid_step_of_the_guide_changes_nothing(new_web):
    before = new_web.policy_path.read_text()
    with client(new_web) as browser:
        assert (
            browser.post("/start/password", data={"name": "ana", "password": "short", "code": SETUP_CODE}).status_code
            == 422
        )
        assert not new_web.accounts.has_any
        post(browser, "/start/password", name="ana", password=PASSWORD, code=SETUP_CODE)
        for path, form in INVALID_STEPS:
            answer = browser.post(path, data=form)
            assert answer.status_code == 422, (path, form)
            assert "<h1>" in answer.text
            assert new_web.policy_path.read_text() == before


def test_once_there_is_a_password_the_guide_sets_no_other(new_web):
    with client(new_web) as browser:
        post(browser, "/start/password", name="ana", password=PASSWORD, code=SETUP_CODE)
        again = browser.post("/start/password", data={"name": "eve", "password": PASSWORD, "code": SETUP_CODE})
        assert again.status_code == 422
    with client(new_web) as somebody_else:
        assert somebody_else.get("/").headers["location"] == "/sign-in"
        assert (
            somebody_else.post(
                "/start/password", data={"name": "eve", "password": PASSWORD, "code": SETUP_CODE}
            ).status_code
            == 401
        )
        assert somebody_else.get("/metrics").status_code == 200


@pytest.fixture
def family(new_web):
    """A web server with Ana's account and her phone, an adult's device."""
    new_web.control.devices[PHONE] = DeviceView(DeviceId("phone"), "ana", "adult", may_sign_in=True)
    with client(new_web) as browser:
        post(browser, "/start/password", name="ana", password=PASSWORD, code=SETUP_CODE)
    return new_web


def test_signing_in_from_a_phone_and_out_again(family):
    with client(family, PHONE) as phone:
        assert phone.get("/").headers["location"] == "/sign-in"
        assert phone.post("/sign-in", data={"name": "ana", "password": "wrong password"}).status_code == 403
        answer = post(phone, "/sign-in", name="ana", password=PASSWORD)
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/" in cookie
        assert phone.get("/").status_code == 200
        assert phone.get("/account").status_code == 200
        session = phone.cookies["hedgerow_session"]
        post(phone, "/sign-out")
        phone.cookies.clear()
        assert phone.get("/", headers={"cookie": f"hedgerow_session={session}"}).status_code == 303, (
            "the session itself is over"
        )


def test_sessions_are_listed_and_ended(family):
    with client(family, PHONE) as phone, client(family) as desk:
        post(phone, "/sign-in", name="ana", password=PASSWORD)
        post(desk, "/sign-in", name="ana", password=PASSWORD)
        page = desk.get("/account").text
        assert PHONE in page
        ids = re.findall(r'name="session" value="(\w+)"', page)
        assert len(ids) == 3
        on_phone = next(row.id for row in family.accounts.sessions() if row.address == PHONE)
        post(desk, "/account/sessions/end", session=on_phone)
        assert phone.get("/").status_code == 303
        assert desk.get("/").status_code == 200
        assert desk.post("/account/sessions/end", data={"session": "x"}).status_code == 422


def test_a_parent_ends_no_session_of_somebody_else(family):
    with client(family) as desk, client(family, PHONE) as phone:
        post(desk, "/sign-in", name="ana", password=PASSWORD)
        post(desk, "/settings/accounts", name="tom", role="parent", password="tom has words too")
        post(phone, "/sign-in", name="tom", password="tom has words too")
        anas = next(row.id for row in family.accounts.sessions("ana"))
        assert phone.post("/account/sessions/end", data={"session": anas}).status_code == 422
        for path, form in (
            ("/settings/accounts", {"name": "eve", "role": "admin", "password": PASSWORD}),
            ("/settings/tokens", {"name": "x", "scopes": "manage"}),
        ):
            assert phone.post(path, data=form).status_code == 403
        assert phone.post("/people", data={"name": "zoe", "age": "3"}).status_code == 303


def test_an_operator_sees_the_counter_and_no_log(family):
    with client(family) as desk, client(family, PHONE) as counter:
        post(desk, "/sign-in", name="ana", password=PASSWORD)
        post(desk, "/settings/accounts", name="counter", role="operator", password="many seats here")
        family.recorder.add(
            [
                Observation(
                    NOW,
                    DeviceId("x"),
                    "mia",
                    "adult",
                    RequestKind.DNS,
                    Verdict.BLOCK,
                    Reason.CATEGORY,
                    "a",
                    "private.example",
                )
            ]
        )
        family.recorder.flush()
        post(counter, "/sign-in", name="counter", password="many seats here")
        assert "private.example" not in counter.get("/").text
        assert counter.get("/log").status_code == 403
        post(counter, "/pause", person="mia", minutes="30")
        assert counter.post("/people", data={"name": "zoe", "age": "3"}).status_code == 403
        assert counter.post("/devices/seat", data={"seat": "seat-9", "place": "192.168.1.59"}).status_code == 403


def test_a_token_is_shown_once_and_does_what_its_scopes_say(family):
    with client(family) as desk:
        post(desk, "/sign-in", name="ana", password=PASSWORD)
        page = desk.post("/settings/tokens", data={"name": "grafana", "scopes": ["metrics"]}).text
        token = search(r"(hedgerow_[\w-]{40,})", page)
        assert token not in desk.get("/settings").text
        script = {"authorization": f"Bearer {token}"}
        with client(family, "127.0.0.2") as scraper:
            assert scraper.get("/metrics", headers=script).status_code == 200
            assert scraper.get("/api/v1/status", headers=script).status_code == 403
        post(desk, "/settings/tokens/remove", token=family.accounts.tokens()[0].id)
        with client(family, "127.0.0.2") as scraper:
            assert scraper.get("/metrics", headers=script).status_code == 403


def own(policy, stance):
    """Return the names of mia's own rules."""
    return [target.name for target in getattr(policy.people["mia"].rules, stance)]


CHANGES = [
    ("/people", {"name": "zoe", "age": "3"}, lambda p: p.people["zoe"].profile == "child-under-8"),
    ("/people/mia/age", {"age": "14"}, lambda p: p.people["mia"].profile == "teen-13-15"),
    ("/people/mia/age", {"born": "2016-5"}, lambda p: str(p.people["mia"].born) == "2016-05"),
    ("/people/mia/age", {"profile": "child-under-8"}, lambda p: p.people["mia"].profile == "child-under-8"),
    ("/people/mia/switch", {"open": "roblox"}, lambda p: not p.people["mia"].rules.block),
    ("/people/mia/switch", {"close": "minecraft"}, lambda p: "minecraft" in own(p, "block")),
    ("/people/mia/switch", {"open": "tiktok"}, lambda p: own(p, "allow") == ["tiktok"]),
    ("/people/mia/switch", {"close": "games"}, lambda p: "games" in own(p, "block")),
    ("/people/mia/switch", {"open": "shopping"}, lambda p: own(p, "allow") == ["shopping"]),
    ("/people/mia/switch", {"open": "unsafe-search"}, lambda p: own(p, "allow") == ["unsafe-search"]),
    (
        "/people/mia/site",
        {"site": "scratch.mit.edu", "stance": "allow"},
        lambda p: own(p, "allow") == ["scratch.mit.edu"],
    ),
    (
        "/people/mia/site",
        {"site": "youtube.com/shorts", "stance": "block"},
        lambda p: len(p.people["mia"].rules.block) == 2,
    ),
    (
        "/people/mia/nights",
        {"mon-from": "20:00", "mon-to": "07:00"},
        lambda p: len(p.people["mia"].rules.bedtime.spans) == 1,
    ),
    ("/people/tom/remove", {"sure": "yes"}, lambda p: set(p.people) == {"mia"}),
    ("/devices/name", {"device": TV, "name": "telly", "person": "tom"}, lambda p: p.devices["telly"].person == "tom"),
    ("/devices/name", {"device": "192.168.1.7", "name": "printer"}, lambda p: p.devices["printer"].person is None),
    ("/devices/give", {"device": "mia-tablet", "person": "tom"}, lambda p: p.devices["mia-tablet"].person == "tom"),
    ("/devices/give", {"device": "mia-tablet", "person": ""}, lambda p: p.devices["mia-tablet"].person is None),
    ("/devices/remove", {"device": "mia-tablet"}, lambda p: not p.devices),
    ("/devices/seat", {"seat": "seat 1", "place": "192.168.1.51"}, lambda p: p.devices["seat 1"].is_seat),
    ("/devices/seat", {"seat": "port 2", "place": "192.168.1.64/28"}, lambda p: p.devices["port 2"].is_seat),
    ("/devices/seat", {"seat": "window", "place": "AA-BB-CC-00-11-22"}, lambda p: len(p.devices["window"].macs) == 1),
    (
        "/lists",
        {"url": "https://example.org/list.txt", "category": "adult"},
        lambda p: p.lists[0].url == "https://example.org/list.txt",
    ),
    (
        "/settings/network",
        {"country": "ES", "zone": "Europe/Madrid", "unknown": "child-under-8"},
        lambda p: p.network.country == "ES",
    ),
    ("/settings/block-page", {"on": "true"}, lambda p: p.network.resolver.blocked_answer is BlockedAnswer.PAGE),
    (
        "/grants/new",
        {"subject": "chess.example", "person": "mia", "for": "policy"},
        lambda p: own(p, "allow") == ["chess.example"],
    ),
]


@pytest.mark.parametrize(("path", "form", "holds"), CHANGES)
def test_a_change_is_written_shown_and_undone(web, path, form, holds):
    before = web.policy_path.read_text()
    with client(web) as browser:
        saved = search(r"saved=(\d+)", post(browser, path, **form).headers["location"])
        assert holds(policy(web))
        page = browser.get(f"/changes/{saved}").text
        assert "<ins>" in page or "<del>" in page
        post(browser, f"/changes/{saved}/undo")
        assert web.policy_path.read_text() == before
        assert "Undone" in browser.get("/changes").text


def test_twenty_changes_through_the_pages_keep_every_comment(web):
    comments = [line[line.index("#") :] for line in web.policy_path.read_text().splitlines() if "#" in line]
    with client(web) as browser:
        for path, form, _ in CHANGES:
            if not path.endswith(("/remove", "/age")):
                post(browser, path, **form)
    text = web.policy_path.read_text()
    assert [comment for comment in comments if comment not in text] == []
    policy(web)


def test_twenty_changes_of_included_files_keep_every_comment_and_are_undone(web):
    """With one file per person, mia's rules change in mia's file, and a change of two files is undone in both."""
    folder = web.policy_path.parent
    (folder / "people").mkdir()
    main = "# The house\ninclude: people/*.yaml   # one for each\nnetwork: {timezone: Europe/Lisbon}   # since 2019\n"
    mia = "# Mia's file\npeople:\n  mia:\n    age: 9   # ten in May\n"
    mia += "    devices: [mia-tablet]   # the old one\n    block: [roblox]   # June\n"
    tom = "people:\n  tom: {age: 15}   # every other week\n"
    tablet = "# Things\ndevices:\n  mia-tablet: {ip: 192.168.1.3}   # with a crack\n"
    files = {
        folder / "people" / f"{name}.yaml": text for name, text in (("mia", mia), ("tom", tom), ("things", tablet))
    }
    files[web.policy_path] = main
    for path, text in files.items():
        path.write_text(text)
    with client(web) as browser:
        saved = []
        for path, form, _ in CHANGES:
            if not path.endswith("/remove"):
                location = post(browser, path, **form).headers["location"]
                saved += re.findall(r"saved=(\d+)", location)
        assert len(saved) >= 15
        assert "mia" not in web.policy_path.read_text().replace("mia-", "")
        for path, text in files.items():
            now = path.read_text()
            assert [part for part in re.findall("#.*", text) if part not in now] == [], path
        for change in reversed(saved):
            post(browser, f"/changes/{change}/undo")
    assert {path: path.read_text() for path in files} == files


def test_if_one_of_two_files_cannot_be_written_neither_is(web):
    folder = web.policy_path.parent
    (folder / "mia.yaml").write_text("people: {mia: {age: 9, devices: [tablet]}}\n")
    web.policy_path.write_text("include: mia.yaml\npeople: {tom: {age: 15}}\ndevices: {tablet: {ip: 192.168.1.3}}\n")
    before = {path: path.read_text() for path in (folder / "mia.yaml", web.policy_path)}
    (folder / f".mia.yaml.{os.getpid()}").mkdir()
    with client(web) as browser:
        answer = browser.post("/devices/give", data={"device": "tablet", "person": "tom"})
    assert (answer.status_code, "cannot be written" in answer.text) == (422, True)
    assert {path: path.read_text() for path in before} == before


def test_seats_are_added_renamed_and_removed_and_keep_their_comments(web):
    web.policy_path.write_text(web.policy_path.read_text() + "seats:\n  seat-1: {ip: 192.168.1.51}   # by the window\n")
    with client(web) as browser:
        post(browser, "/devices/seat", seat="seat-2", place="192.168.1.52")
        post(browser, "/devices/seat/rename", seat="seat-1", name="seat-by-the-window")
        written = re.sub(" +#", " #", web.policy_path.read_text())
        assert "seat-by-the-window: {ip: 192.168.1.51} # by the window\n  seat-2: {ip: 192.168.1.52}" in written
        page = browser.get("/devices").text
        assert "Rename the seat seat-by-the-window" in page
        assert "Remove the seat seat-2" in page
        post(browser, "/counter/open", seat="seat-by-the-window", band="child", minutes="30")
        for path, form in (("rename", {"name": "door"}), ("remove", {})):
            answer = browser.post(f"/devices/seat/{path}", data={"seat": "seat-by-the-window", **form})
            assert (answer.status_code, "end the session first" in answer.text) == (422, True)
        post(browser, "/counter/end", seat="seat-by-the-window")
        post(browser, "/devices/seat/remove", seat="seat-by-the-window")
    assert [each.id for each in policy(web).devices.values() if each.is_seat] == ["seat-2"]


def test_switching_back_restores_the_file(web):
    before = web.policy_path.read_text()
    with client(web) as browser:
        for service in ("tiktok", "minecraft"):
            first, second = ("open", "close") if service == "tiktok" else ("close", "open")
            post(browser, "/people/mia/switch", **{first: service})
            post(browser, "/people/mia/switch", **{second: service})
    assert web.policy_path.read_text() == before


def test_a_change_to_an_invalid_policy_is_refused_and_not_written(web):
    before = web.policy_path.read_text()
    with client(web) as browser:
        for path, form in (
            ("/people/mia/site", {"site": "not a site", "stance": "block"}),
            ("/people/mia/site", {"site": "a.example", "stance": "perhaps"}),
            ("/people/nobody/age", {"age": "9"}),
            ("/people/mia/nights", {"mon-from": "25:00", "mon-to": "07:00"}),
            ("/people/mia/nights", {"mon-from": "20:00"}),
            ("/people/mia/switch", {"open": "no-such-service"}),
            ("/devices/name", {"device": TV, "name": "mia-tablet"}),
            ("/devices/seat", {"seat": "mia-tablet", "place": "192.168.1.51"}),
            ("/devices/seat", {"seat": "seat-1", "place": "by the window"}),
            ("/devices/seat/rename", {"seat": "mia-tablet", "name": "seat-1"}),
            ("/devices/seat/remove", {"seat": "mia-tablet"}),
            ("/lists", {"url": "file:///etc/passwd", "category": "adult"}),
            ("/lists", {"url": "https://example.org/x", "category": "no such"}),
            ("/settings/network", {"country": "PT", "zone": "Mars/Base", "unknown": "child-8-12"}),
            ("/settings/network", {"country": "PT", "zone": "Europe/Lisbon", "unknown": "no-such"}),
        ):
            answer = browser.post(path, data=form)
            assert answer.status_code == 422, path
    assert web.policy_path.read_text() == before


def test_a_file_with_mistakes_is_not_made_worse(web):
    text = web.policy_path.read_text() + "peeple: {}\n"
    with client(web) as browser:
        web.policy_path.write_text(text)
        answer = browser.post("/people", data={"name": "zoe", "age": "3"})
    assert answer.status_code in {422, 500}
    assert web.policy_path.read_text() == text


def test_undoing_writes_no_file_but_those_of_the_policy(web):
    """A restored journal may name any file in its changes."""
    outside = web.policy_path.parent / "outside.yaml"
    changes = PolicyHistory(web.engine)
    crafted = changes.add(NOW, "ana", "harmless", {"outside.yaml": "planted"}, {"outside.yaml": ""})
    mixed = changes.add(NOW, "ana", "harmless", {"outside.yaml": "planted"}, {})
    with client(web) as browser:
        for change in (crafted, mixed):
            assert browser.post(f"/changes/{change.id}/undo").status_code == 422
    assert not outside.exists()


def test_undoing_under_later_changes_is_refused(web):
    with client(web) as browser:
        first = search(r"saved=(\d+)", post(browser, "/people", name="zoe", age="3").headers["location"])
        post(browser, "/people", name="leo", age="6")
        answer = browser.post(f"/changes/{first}/undo")
        assert answer.status_code == 422
        assert "later changes first" in answer.text
        web.policy_path.write_text(web.policy_path.read_text() + "# by hand\n")
        assert browser.post("/changes/2/undo").status_code == 422
        assert browser.post("/changes/99/undo").status_code == 404


def test_an_unwritable_file_is_reported(web):
    before = web.policy_path.read_text()
    web.policy_path.with_name(f".{web.policy_path.name}.{os.getpid()}").mkdir()
    with client(web) as browser:
        answer = browser.post("/people", data={"name": "zoe", "age": "3"})
        assert "Nothing has been changed on these pages" in browser.get("/changes").text
    assert answer.status_code == 422
    assert "cannot be written" in answer.text
    assert web.policy_path.read_text() == before


def test_the_mode_and_a_link_survive(web, tmp_path):
    real = tmp_path / "real.yaml"
    web.policy_path.rename(real)
    real.chmod(0o640)
    web.policy_path.symlink_to(real)
    with client(web) as browser:
        post(browser, "/people", name="zoe", age="3")
    assert web.policy_path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "zoe" in real.read_text()
