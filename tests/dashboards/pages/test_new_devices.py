"""Answers to "Whose device is this?", on Today, on Devices, and on the device itself."""

import asyncio
import re

import httpx
import pytest
from web_server import NOW, TOKEN

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.pages.device_cards import MAX_BRIEF
from hedgerow.dashboards.passwords import ALL_UNNAMED_TRIES
from hedgerow.dashboards.scopes import Role
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.policies.identity import Grade, Protection
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

RANDOM, OLD, STRANGER = "da:a1:19:00:00:01", "aa:bb:cc:dd:ee:ff", "192.168.1.77"
PASSWORD = "correct horse battery"


def client(web, address="127.0.0.1", **more):
    return httpx.Client(
        base_url=web.url,
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        trust_env=False,
        timeout=30,
        **more,
    )


def appears(web, device=RANDOM, mac=RANDOM, address=STRANGER, name="", at=NOW, person=None):
    web.recorder.add([DeviceSeen(at, DeviceId(device), address, mac, person, "child-8-12", name)])
    web.recorder.flush()


def answer(web, action, **form):
    with client(web) as local:
        headers = {"authorization": f"Bearer {TOKEN}", "origin": web.url}
        return local.post(f"/devices/new/{action}", data={"device": RANDOM, **form}, headers=headers)


def cards(web, path="/"):
    with client(web) as local:
        page = local.get(path, headers={"authorization": f"Bearer {TOKEN}"}).text
    return [
        (action, value)
        for action, value in re.findall(r'action="/devices/new/(\w+)">.*?name="device" value="([^"]*)"', page)
    ]


def test_a_device_that_changed_its_address_is_recognised(web):
    appears(web, "mia-tablet", OLD, "192.168.1.5", at=NOW - 600, person="mia")
    appears(web, at=NOW - 300)
    assert ("same", RANDOM) in cards(web)
    assert answer(web, "same", known="mia-tablet").headers["location"] == "/devices?saved=1"
    assert web.control.policy().devices["mia-tablet"].macs == (OLD, RANDOM)
    assert cards(web) == [], "answered"


def test_a_device_has_its_new_owner_at_once(web):
    """The journal has the owner of the last request, who may be nobody, until the next one."""
    web.policy_path.write_text("people: {mia: {age: 9, devices: [tablet]}}\ndevices: {tablet: {ip: 192.168.1.5}}\n")
    appears(web, "tablet", OLD, "192.168.1.5")
    with client(web) as local:
        page = local.get("/day", headers={"authorization": f"Bearer {TOKEN}"}).text
    row = page[page.index('id="devices-rows"') :].partition("</li>")[0]
    assert "<bdi>mia</bdi>" in row
    assert "nobody yet" not in row


def test_many_new_devices_are_folded(web):
    for number in range(1, 6):
        appears(web, f"02:00:00:00:00:0{number}", f"02:00:00:00:00:0{number}", f"192.168.1.9{number}", at=NOW - 60)
        appears(web, f"02:00:00:00:00:0{number}", f"02:00:00:00:00:0{number}", f"192.168.1.9{number}", at=NOW - 3600)
    with client(web) as local:
        local.headers["authorization"] = f"Bearer {TOKEN}"
        short, page = local.get("/devices").text, local.get("/devices?new=all").text
    assert short.count('class="request"') == 3
    assert 'href="/devices?new=all#more-new"' in short
    above, fold, folded = page.partition('id="more-new"')
    assert fold
    assert (above.count('class="request"'), folded.count('class="request"')) == (3, 2)


def test_a_home_shows_no_seats_unless_it_wants_the_first(web):
    with client(web, headers={"authorization": f"Bearer {TOKEN}"}) as local:
        web.policy_path.write_text("people: {mia: {age: 9}}\n")
        assert "/devices/seat" not in local.get("/devices").text
        assert "/devices?seats=yes#seats" in local.get("/settings").text
        assert 'action="/devices/seat"' in local.get("/devices?seats=yes").text
        web.policy_path.write_text("seats: {seat-1: {ip: 192.168.1.51}}\n")
        assert 'action="/devices/seat"' in local.get("/devices").text
        assert "?seats=yes" not in local.get("/settings").text


@pytest.mark.parametrize("path", ["/", "/devices"])
def test_answers_are_one_tap_away(web, path):
    appears(web, name="lunas-phone")
    assert [action for action, _ in cards(web, path)] == ["person", "person", "guest", "close"]


def test_invented_addresses_do_not_hide_a_device_that_stays(web):
    appears(web, at=NOW - 3600)
    appears(web, at=NOW - 60)
    for number in range(200):
        made_up = f"06:00:00:00:00:{number:02x}"
        web.recorder.add(
            [DeviceSeen(NOW - 30 + number / 10, DeviceId(made_up), f"192.168.3.{number}", made_up, None, "child-8-12")]
        )
    web.recorder.flush()
    at_once = [device for _, device in cards(web, "/devices")]
    assert at_once[0] == RANDOM
    assert len({device for _, device in cards(web, "/devices?new=all")}) == MAX_BRIEF + 1
    headers = {"authorization": f"Bearer {TOKEN}", "accept-language": "en"}
    for path in ("/", "/devices"):
        with client(web) as local:
            page = local.get(path, headers=headers).text
        assert f"{200 - MAX_BRIEF} more addresses were seen for a few minutes only" in page
        assert len(set(re.findall(r"06:00:00:00:00:\w\w", page))) <= MAX_BRIEF


def asks(web, device, *hosts, verdict=Verdict.ALLOW):
    web.recorder.add([ProtectionSeen(NOW - 5, DeviceId(device), Protection.DNS)])
    web.recorder.add(
        Observation(
            NOW - 9, DeviceId(device), None, "child-8-12", RequestKind.DNS, verdict, Reason.DEFAULT, "", host, ""
        )
        for host in hosts
    )
    web.recorder.flush()


def test_nobody_is_asked_about_a_mac_address(web):
    """Titles are maker, kind and name, or when it came and what it asks for, for those who may read that."""
    appears(web)
    asks(web, RANDOM, "www.roblox.com", "en.wikipedia.org")
    asks(web, RANDOM, "casino.example", verdict=Verdict.BLOCK)
    appears(web, "00:00:48:11:22:33", "00:00:48:11:22:33", "192.168.1.30")
    appears(web, "00:11:32:11:22:33", "00:11:32:11:22:33", "192.168.1.31")
    appears(web, "02:00:00:00:00:44", "02:00:00:00:00:44", "192.168.1.32", name="BRW707781C0FFEE")
    appears(web, "02:00:00:00:00:45", "02:00:00:00:00:45", "192.168.1.33")
    asks(web, "02:00:00:00:00:45", "lgtvsdp.com", "eu.lgtvsdp.com")
    for path in ("/", "/devices", "/start/devices", "/day"):
        with client(web, headers={"authorization": f"Bearer {TOKEN}", "accept-language": "en"}) as local:
            page = local.get(path).text
        titles = re.findall(r"<b><bdi>(.*?)</bdi></b>", page)
        asked = [title for title in titles if title.startswith("A new device (first seen")]
        if path != "/day":
            assert any(re.search("asks for (Roblox, wikipedia.org|wikipedia.org, Roblox)", each) for each in asked), (
                path
            )
        assert not re.search(r"<b>(<bdi>)?([0-9a-f]{2}:){5}", page), path
        assert not re.search(r"<bdi>([0-9a-f]{2}:){5}[0-9a-f]{2}</bdi></a>", page), path
        assert "casino.example" not in page.partition('id="blocked"')[0], path
    with client(web, headers={"authorization": f"Bearer {TOKEN}", "accept-language": "en"}) as local:
        devices, guide = local.get("/devices").text, local.get("/start/devices").text
    new, _, apart = devices.partition('id="equipment"')
    for maker in ("Epson · Printer", "Synology · Network storage", "Printer · BRW707781C0FFEE"):
        assert (maker in new, maker in apart) == (False, True), maker
    assert guide.index("Roblox") < guide.index("Television") < guide.index("Epson · Printer"), "phones come first"
    assert 'class="apart"' in guide[guide.index("Television") : guide.index("Epson · Printer")]


def test_an_operator_does_not_read_what_a_new_device_asks_for(web):
    appears(web)
    asks(web, RANDOM, "www.roblox.com")
    asyncio.run(web.accounts.create("tina", Role.OPERATOR, PASSWORD))
    with client(web, "127.0.0.9", headers={"origin": web.url}) as phone:
        web.control.devices["127.0.0.9"] = DeviceView(DeviceId("mia-tablet"), None, "adult", may_sign_in=True)
        phone.post("/sign-in", data={"name": "tina", "password": PASSWORD})
        page = phone.get("/devices").text
    assert "A new device (first seen" in page
    assert "Roblox" not in page


def test_a_person_gets_the_device_under_its_own_name(web):
    appears(web, name="Toms-Pixel")
    answer(web, "person", person="tom")
    device = web.control.policy().devices["Toms-Pixel"]
    assert (device.person, device.macs) == ("tom", (RANDOM,))


def test_devices_without_a_host_name_get_different_names(web):
    for number in (1, 2):
        mac = f"da:a1:19:00:00:0{number}"
        appears(web, mac, mac)
        assert answer(web, "person", person="tom", device=mac).status_code == 303
    assert {"tom Device", "tom Device 2"} <= web.control.policy().devices.keys()


def test_a_device_without_a_host_name_is_called_by_its_makers_kind(web):
    console = "60:1a:c7:00:00:01"
    appears(web, console, console)
    answer(web, "person", person="tom", device=console)
    assert web.control.policy().devices["tom Games console"].macs == (console,)


def test_a_guest_follows_the_rules_for_guests(web):
    appears(web)
    answer(web, "guest")
    assert web.control.policy().devices["Guest"].profile == "guest"


def test_a_device_is_kept_closed_until_it_is_named(web):
    appears(web)
    answer(web, "close")
    assert [(pause.device, pause.ends) for pause in web.control.reader.pauses(NOW)] == [(RANDOM, None)]
    assert cards(web) == []
    assert ("person", RANDOM) in cards(web, "/devices")
    answer(web, "person", person="tom")
    assert web.control.reader.pauses(NOW) == ()


@pytest.mark.parametrize(
    ("action", "form"),
    [("same", {"known": "seat-9"}), ("person", {"person": "eve"}), ("guest", {"device": "mia-tablet"})],
)
def test_answers_about_nobody_change_nothing(web, action, form):
    appears(web)
    before = web.control.policy()
    assert answer(web, action, **form).status_code == 422
    assert web.control.policy() == before


def test_at_most_eight_addresses_are_kept_of_which_the_oldest_made_up_ones_go(web):
    appears(web, "mia-tablet", OLD, "192.168.1.5", at=NOW - 600)
    macs = [f"da:a1:19:00:00:{number:02x}" for number in range(16, 24)]
    for mac in macs:
        appears(web, mac, mac)
        answer(web, "same", device=mac, known="mia-tablet")
    assert web.control.policy().devices["mia-tablet"].macs == tuple(macs), "its first address was made up too"


@pytest.fixture
def stranger(web):
    """A device without a name, which somebody with a password holds."""
    web.control.devices["127.0.0.3"] = DeviceView(DeviceId(RANDOM), None, "child-8-12", (), held="unnamed-device")
    asyncio.run(web.accounts.create("ana", Role.PARENT, PASSWORD))
    with client(web, "127.0.0.3", headers={"origin": web.url}) as device:
        yield device


def test_a_parent_names_a_new_phone_on_itself(web, stranger):
    assert 'href="/device/name"' in stranger.get("/device").text
    assert "closed" in stranger.get("/device").text
    done = stranger.post("/device/name", data={"account": "ana", "password": PASSWORD, "owner": "tom"})
    assert (done.status_code, done.headers["location"], done.headers.get("set-cookie")) == (303, "/device", None)
    assert web.control.policy().devices["tom Device"].macs == (RANDOM,)


def test_a_wrong_password_names_nothing_and_tries_are_counted_for_all_devices_together(web, stranger):
    """A teenager who makes up addresses tries both forms. The parent's right passwords take nothing from the others."""

    def tries(path, address, password):
        with client(web, address, headers={"origin": web.url}) as device:
            form = {"account": "ana", "name": "ana", "password": password}
            return device.post(path, data=form).status_code

    for _ in range(ALL_UNNAMED_TRIES + 1):
        assert tries("/device/name", "127.0.0.3", PASSWORD) == 303
    wrong = []
    for number in range(10):
        address = f"127.0.1.{number}"
        web.control.devices[address] = DeviceView(
            DeviceId(f"da:a1:19:00:01:{number:02}"), None, "child-8-12", may_resume=True
        )
        wrong += [tries(("/device/name", "/sign-in")[try_ % 2], address, f"wrong {try_}") for try_ in range(4)]
    assert wrong == [403] * ALL_UNNAMED_TRIES + [429] * (len(wrong) - ALL_UNNAMED_TRIES)
    assert tries("/sign-in", "127.0.1.9", PASSWORD) == 429
    web.control.devices["127.0.0.9"] = DeviceView(DeviceId("mia-tablet"), None, "adult", may_sign_in=True)
    assert tries("/sign-in", "127.0.0.9", PASSWORD) == 303, "an adult's own device"
    assert "tom Device" not in web.control.policy().devices


def test_ten_wrong_passwords_on_one_device_leave_the_others_theirs(web, stranger):
    for number in range(12):
        assert stranger.post("/device/name", data={"account": "ana", "password": f"wrong {number}"}).status_code in {
            403,
            429,
        }
    web.control.devices["127.0.0.4"] = DeviceView(DeviceId("da:a1:19:00:00:02"), None, "child-8-12", ())
    with client(web, "127.0.0.4", headers={"origin": web.url}) as other:
        done = other.post("/device/name", data={"account": "ana", "password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/")


def test_a_device_that_claims_a_childs_name_offers_no_sign_in(web, stranger):
    web.control.devices["127.0.0.3"] = DeviceView(DeviceId(RANDOM), None, "child-8-12", grade=Grade.HOST_NAME)
    assert stranger.get("/device/name").headers["location"] == "/device"
    assert "/device/name" not in stranger.get("/people").text
    done = stranger.post("/device/name", data={"account": "ana", "password": PASSWORD})
    assert (done.headers["location"], done.headers.get("set-cookie")) == ("/device", None)


def test_a_device_that_cannot_be_named_signs_in_and_says_so(web, stranger):
    done = stranger.post("/device/name", data={"account": "ana", "password": PASSWORD, "owner": "eve"})
    assert (done.status_code, "not named" in done.text, "eve" in done.text) == (200, True, True)
    assert stranger.get("/people").status_code == 200


def test_a_named_device_cannot_try_passwords(web, stranger):
    web.control.devices["127.0.0.3"] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12", ())
    assert stranger.get("/device/name").headers["location"] == "/device"
    assert stranger.post("/device/name", data={"account": "ana", "password": PASSWORD}).headers["location"] == "/device"


def test_an_adult_signs_in_on_a_phone_that_nobody_has_named(web, stranger):
    web.policy_path.write_text(web.policy_path.read_text().replace("people:\n", "people:\n  Ana: {profile: adult}\n"))
    for path in ("/", "/people", "/settings", "/nowhere"):
        assert re.search(r'class="button yes" href="/device/name">Sign in', stranger.get(path).text), path
    page = stranger.get("/device/name").text
    assert re.search(r"<h1>Sign in</h1>", page)
    assert re.search(r'<option value="me">', page)
    done = stranger.post("/device/name", data={"account": "ana", "password": PASSWORD, "owner": "me"})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert stranger.get("/people").status_code == 200, "one password is enough"
    (mine,) = (device for device in web.control.policy().devices.values() if device.person == "Ana")
    assert mine.macs == (RANDOM,)


def test_an_operator_and_somebody_who_is_no_person_sign_in_without_naming_the_phone(web, stranger):
    asyncio.run(web.accounts.create("tina", Role.OPERATOR, PASSWORD))
    before = web.policy_path.read_text()
    for name, pages in (("tina", [200, 403]), ("ana", [200, 200])):
        done = stranger.post("/device/name", data={"account": name, "password": PASSWORD, "owner": "me"})
        assert (done.status_code, done.headers["location"]) == (303, "/"), name
        assert [stranger.get(path).status_code for path in ("/devices", "/people")] == pages
        stranger.cookies.clear()
    assert web.policy_path.read_text() == before
    refused = stranger.post("/device/name", data={"account": "tina", "password": PASSWORD, "owner": "tom"})
    assert refused.status_code == 403


def test_a_guests_phone_offers_the_sign_in_and_a_childs_does_not(web, stranger):
    text = web.policy_path.read_text().replace("people:\n", "people:\n  Ana: {profile: adult}\n")
    web.policy_path.write_text(
        text + "  visitor: {ip: 127.0.0.3, profile: guest}\n  sofa: {ip: 127.0.0.5, profile: child-8-12}\n"
    )
    devices = web.control.devices
    devices["127.0.0.3"] = DeviceView(DeviceId("visitor"), None, "guest")
    devices["127.0.0.4"] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    devices["127.0.0.5"] = DeviceView(DeviceId("sofa"), None, "child-8-12")
    devices["127.0.0.6"] = DeviceView(DeviceId("seat-1"), None, "child-8-12", is_seat=True)
    for address in ("127.0.0.4", "127.0.0.5", "127.0.0.6"):
        with client(web, address, headers={"origin": web.url}) as closed:
            assert "/device/name" not in closed.get("/people").text, address
            assert closed.get("/device/name").headers["location"] == "/device"
            done = closed.post("/device/name", data={"account": "ana", "password": PASSWORD})
            assert (done.headers["location"], done.headers.get("set-cookie")) == ("/device", None)
    assert 'href="/device/name">Sign in' in stranger.get("/people").text
    done = stranger.post("/device/name", data={"account": "ana", "password": PASSWORD})
    assert done.headers["location"] == "/"
    assert web.control.policy().devices["visitor"].profile == "guest", "it stays as it is"
    stranger.post("/device/name", data={"account": "ana", "password": PASSWORD, "owner": "me"})
    visitor = web.control.policy().devices["visitor"]
    assert (visitor.person, visitor.has_profile) == ("Ana", False)


def test_links_and_addresses_of_known_macs_are_no_devices(web):
    appears(web)
    appears(web, "fd00::/64", None, "fd00::99")
    appears(web, STRANGER, None, STRANGER)
    appears(web, "192.168.1.88", None, "192.168.1.88")
    assert {device for _, device in cards(web, "/devices")} == {RANDOM, "192.168.1.88"}
