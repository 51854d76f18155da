"""Names, kinds and owners of devices, from the page and the API."""

import re
from html import unescape

import httpx
import pytest
from web_server import NOW, TOKEN

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.devices import kind_edits, owner_edits, owner_of, owners_edits, rename_device_edits
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy, parse_policy

HOUSE = """\
people:
  mia: {age: 9, devices: [tablet, console, "192.168.1.77"]}   # ours
  tom: {age: 15, devices: [phone, console]}
devices:
  tablet: {ip: 192.168.1.31}   # old
  phone: {ip: 192.168.1.32}
  console: {ip: 192.168.1.40}
  box: {ip: 192.168.1.50}
"""


def edited(*edits, text=HOUSE):
    after = apply_edits(text, edits)
    return after, parse_policy(after.encode(), None)


def policy():
    return parse_policy(HOUSE.encode(), None)


@pytest.mark.parametrize(
    ("device", "owner", "after"),
    [
        ("tablet", "person:tom", "person:tom"),
        ("console", "person:tom", "person:tom"),
        ("box", "everybody", "shared"),
        ("box", "profile:guest", "profile:guest"),
        ("tablet", "profile:child-8-12", "profile:child-8-12"),
        ("phone", "", ""),
        ("192.168.1.77", "person:tom", "person:tom"),
    ],
)
def test_a_device_belongs_to_a_person_to_everybody_or_follows_a_profile(device, owner, after):
    text, policy_after = edited(*owner_edits(policy(), device, owner))
    assert owner_of(policy_after.devices[device]) == after
    assert "# ours" in text
    assert owner_edits(policy_after, device, owner) == []


def test_a_profile_ends_when_a_person_gets_the_device():
    text, with_profile = edited(*owner_edits(policy(), "box", "profile:guest"))
    assert edited(*owner_edits(with_profile, "box", "person:mia"), text=text)[1].devices["box"].profile == "child-8-12"
    assert edited(*owner_edits(with_profile, "box", ""), text=text)[0] == HOUSE


@pytest.mark.parametrize(
    ("device", "owner"),
    [
        ("box", "person:nobody"),
        ("box", "profile:none"),
        ("box", "nobody"),
        ("no", ""),
        ("192.168.1.77", "profile:guest"),
    ],
)
def test_an_owner_that_does_not_exist_is_refused(device, owner):
    with pytest.raises(InvalidInput):
        owner_edits(policy(), device, owner)


def test_a_persons_name_alone_is_an_owner():
    """In large networks the form has one list of names for all devices."""
    assert edited(*owner_edits(policy(), "box", "mia"))[1].devices["box"].person == "mia"


def test_a_device_is_renamed_wherever_it_is_listed():
    text, after = edited(*rename_device_edits(policy(), "console", "playroom"))
    assert set(after.devices["playroom"].sharers) == {"mia", "tom"}
    assert "console" not in text
    assert edited(*rename_device_edits(policy(), "tablet", "Mia's tablet"))[0].count("# old") == 1
    assert edited(*rename_device_edits(policy(), "192.168.1.77", "watch"))[1].devices["watch"].person == "mia"
    for name in ("phone", "?", ""):
        with pytest.raises(InvalidInput):
            rename_device_edits(policy(), "tablet", name)


def test_a_kind_is_set_and_left_to_a_guess_again():
    text, after = edited(*kind_edits(policy(), "box", "television"))
    assert after.devices["box"].kind is DeviceKind.TELEVISION
    assert edited(*kind_edits(after, "box", ""), text=text)[0] == HOUSE
    with pytest.raises(InvalidInput):
        kind_edits(policy(), "box", "fridge")


def test_several_devices_get_an_owner_at_once():
    _, after = edited(*owners_edits(policy(), ["tablet", "box", "192.168.1.77"], "person:tom"))
    assert {after.devices[each].person for each in ("tablet", "box", "192.168.1.77")} == {"tom"}
    with pytest.raises(InvalidInput):
        owners_edits(policy(), [], "person:tom")


@pytest.fixture
def browser(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url}, verify=False
    ) as client:
        yield client


def test_one_form_changes_name_kind_and_owner(web, browser):
    change = {"device": "tablet", "name": "big tablet", "kind": "television", "owner": "person:tom"}
    answer = browser.post("/devices/change", data=change)
    assert re.search(r"saved=[1-9]", answer.headers["location"])
    device = load_policy(web.policy_path).devices["big tablet"]
    assert (device.kind, device.person) == (DeviceKind.TELEVISION, "tom")


@pytest.mark.parametrize(
    ("path", "typed", "field"),
    [
        ("change", {"device": "tablet", "name": "phone", "kind": "console", "owner": "person:tom"}, "name"),
        ("change", {"device": "tablet", "name": "?", "kind": "phone", "owner": "profile:guest"}, "name"),
        ("seat", {"seat": "seat-1", "place": "by the window"}, "place"),
        ("seat", {"seat": "tablet", "place": "192.168.1.99"}, "seat"),
    ],
)
def test_a_mistake_is_shown_beside_its_field_and_nothing_typed_is_lost(web, browser, path, typed, field):
    answer = browser.post(f"/devices/{path}", data=typed, headers={"referer": f"{web.url}/devices?seats=1"})
    assert answer.status_code == 422
    page = unescape(answer.text)
    (invalid,) = [tag for tag in re.findall(r"<(?:input|select)[^>]*>", page) if 'aria-invalid="true"' in tag]
    assert f'name="{field}"' in invalid
    for name, value in typed.items():
        kept = (rf'<input[^>]* name="{name}"[^>]* value="{re.escape(value)}"', f'<option value="{value}" selected')
        assert any(re.search(each, page) for each in kept), name
    assert web.policy_path.read_text() == HOUSE


def test_a_card_shows_kind_maker_protections_and_the_asking_device(web, browser):
    web.policy_path.write_text(HOUSE.replace("phone: {ip: 192.168.1.32}", 'phone: {mac: "da:a1:19:00:00:01"}'))
    web.recorder.add(
        [DeviceSeen(NOW - 60, DeviceId("phone"), "192.168.1.32", "da:a1:19:00:00:01", "tom", "teen-13-15")]
    )
    web.recorder.add([ProtectionSeen(NOW - 60, DeviceId("phone"), Protection.DNS)])
    web.recorder.flush()
    page = browser.get("/devices").text
    card = page.partition('id="device-phone"')[2].partition("</li>\n</ul></details>")[0]
    assert "icons.svg" in card
    assert "#phone" in card
    assert "changing address" in card
    names, proxy = re.findall(r'<li class="(\w+)">', card)[:2]
    assert (names, proxy) == ("live", "never")


def test_sixty_devices_are_paged_grouped_and_searched(web, browser):
    devices = "".join(f"  device-{number:02}: {{ip: 192.168.1.{100 + number}}}\n" for number in range(60))
    web.policy_path.write_text(HOUSE + devices)
    first, last = browser.get("/devices").text, browser.get("/devices?page=3").text
    ids = {page: re.findall(r'<li class="device" id="device-([^"]+)"', page) for page in (first, last)}
    assert len(ids[first]) == 24
    assert ids[last][-1] == "device-59"
    assert len(first) < 100_000
    found = re.findall(r'<li class="device" id="device-([^"]+)"', browser.get("/devices?q=MIA").text)
    assert found == [
        "192.168.1.77",
        "tablet",
        "console",
    ]
    assert browser.get("/devices?page=-5").status_code == browser.get("/devices?page=99").status_code == 200
    page = {"referer": f"{web.url}/devices?page=3"}
    answer = browser.post(
        "/devices/change", data={"form": "device-device-59", "device": "device-59", "name": "?"}, headers=page
    )
    assert 'id="device-device-59"' in answer.text, "the page with the form is shown"


def test_the_api_changes_devices(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        verify=False,
        timeout=60,
    ) as api:
        changed = api.put("/devices/box", json={"name": "telly", "kind": "television", "owner": "everybody"}).json()
        assert changed == {
            "device": "telly",
            "person": None,
            "trusts_ca": False,
            "owner": "shared",
            "kind": "television",
        }
        assert api.put("/devices/telly", json={"kind": "", "owner": "profile:guest"}).json()["owner"] == "profile:guest"
        given = api.post("/devices/owner", json={"devices": ["telly", "tablet"], "owner": "person:tom"}).json()
        assert [each["person"] for each in given] == ["tom", "tom"]
        assert api.post("/devices/owner", json={"devices": ["telly"], "owner": "person:nobody"}).status_code == 422
