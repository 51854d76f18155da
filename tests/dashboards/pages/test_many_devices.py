"""Pages of a household with many devices: light, and each form one tap away without scripts."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx
import pytest
from web_server import NOW, Web
from web_server.household import PAGES, fill

from hedgerow.dashboards.pages.guide import FULL_ROWS
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import DeviceId

MANY = 60
MOST_BYTES, MOST_ELEMENTS = 60_000, 800


@pytest.fixture
def home(web: Web) -> Web:
    names = [f"laptop {number}" for number in range(MANY)]
    people = [f"  p{number}: {{age: 9, devices: [{', '.join(names[number::6])}]}}\n" for number in range(6)]
    devices = [f"  {name}: {{ip: 192.168.7.{number}}}\n" for number, name in enumerate(names, 1)]
    web.policy_path.write_text("people:\n" + "".join(people) + "devices:\n" + "".join(devices))
    seen = [(DeviceId(f"02:00:00:00:00:{number:02x}"), f"192.168.8.{number}") for number in range(1, 40)]
    web.recorder.add(DeviceSeen(NOW - 60, device, address, str(device), None, "child-8-12") for device, address in seen)
    web.recorder.flush()
    return web


def parent(web: Web) -> httpx.Client:
    return httpx.Client(base_url=web.url, trust_env=False, timeout=60, headers={"accept-language": "en"}, verify=False)


def test_devices_are_light_and_each_opens_by_its_address(home: Web) -> None:
    with parent(home) as local:
        page = local.get("/devices").text
        assert len(page) <= MOST_BYTES
        assert len(re.findall(r"<[a-z]", page)) <= MOST_ELEMENTS
        assert 'action="/devices/change"' not in page
        address = f"/devices?q=&amp;page=1&amp;change={quote('laptop 0')}#device-{quote('laptop 0')}"
        assert f'href="{address.replace("%20", "+", 1)}"' in page
        opened = local.get("/devices", params={"change": "laptop 0"}).text
        assert opened.count('action="/devices/change"') == 1
        assert '<input name="name" value="laptop 0"' in opened


def test_a_form_of_an_opened_device_keeps_what_was_typed(home: Web) -> None:
    with parent(home) as local:
        came, origin = f"{home.url}/devices?change=laptop+0", {"origin": home.url}
        sent = {"device": "laptop 0", "name": "laptop 1", "kind": "", "owner": "person:p0"}
        for headers in (origin | {"referer": came}, origin):
            refused = local.post("/devices/change", data=sent, headers=headers)
            assert refused.status_code == 422
            assert 'value="laptop 1"' in refused.text
            assert '<span class="mistake"' in refused.text


def test_a_refused_change_opens_its_device_from_any_page(home: Web) -> None:
    """A browser that does not say where a form came from gets the page with the form of that device."""
    with parent(home) as local:
        sent = {"device": "laptop 53", "name": "laptop 1", "kind": "", "owner": "person:p0"}
        refused = local.post("/devices/change", data=sent, headers={"origin": home.url}).text
        assert refused.count('action="/devices/change"') == 1
        assert '<input type="hidden" name="device" value="laptop 53"' in refused
        assert 'value="laptop 1"' in refused


def elements(local: httpx.Client, path: str) -> int:
    answer = local.get(path)
    assert answer.status_code < 500, path
    return len(re.findall(r"<[a-z]", answer.text))


def test_no_page_of_a_household_is_heavy(web: Web) -> None:
    fill(web)
    with parent(web) as local:
        heavy = {path: count for path in PAGES if (count := elements(local, path)) > MOST_ELEMENTS}
    assert not heavy


def test_no_page_of_a_household_of_forty_devices_and_as_many_new_ones_is_heavy(web: Web) -> None:
    """Half a home's things are lamps and plugs. A parent's phone shows each page at once all the same."""
    fill(web)
    names = [f"thing {number}" for number in range(36)]
    text = web.policy_path.read_text()
    text = text.replace("[mia-tablet, console]", f"[mia-tablet, console, {', '.join(names)}]")
    more = "".join(f"  {name}: {{ip: 192.168.7.{number}}}\n" for number, name in enumerate(names, 1))
    web.policy_path.write_text(text.replace("devices:\n  mia-tablet", f"devices:\n{more}  mia-tablet"))
    seen = [(f"02:00:00:00:00:{number:02x}", f"192.168.8.{number}") for number in range(1, 41)]
    for at in (NOW - 4000, NOW - 60):  # they stay
        web.recorder.add(DeviceSeen(at, DeviceId(mac), address, mac, None, "child-8-12") for mac, address in seen)
        web.recorder.flush()
    one_open = ("/start/connect?make=fritzbox", "/start/connect?make=device", f"/start/devices?open={seen[0][0]}")
    with parent(web) as local:
        counts = {path: elements(local, path) for path in (*PAGES, *one_open)}
        assert local.get("/start/connect").text.count('class="arrival') > 20
    assert {path: count for path, count in counts.items() if count > MOST_ELEMENTS} == {}


def test_each_of_many_new_devices_gets_its_owner_in_the_guide(web: Web) -> None:
    """Those beyond the first are a line each. A tap keeps what was chosen before, and shows the device's own fields."""
    seen = [(f"02:00:00:00:00:{number:02x}", f"192.168.8.{number}") for number in range(1, 41)]
    for at in (NOW - 4000, NOW - 60):
        web.recorder.add(DeviceSeen(at, DeviceId(mac), address, mac, None, "child-8-12") for mac, address in seen)
        web.recorder.flush()
    with parent(web) as local:
        page = local.get("/start/devices").text
        first = re.findall(r'name="device-(\d+)" value="([^"]*)"', page)
        lines = re.findall(r'<button name="open" value="([^"]*)"', page)
        assert (len(first), {*(device for _, device in first), *lines}) == (FULL_ROWS, {mac for mac, _ in seen})
        assert page.index("Finish</button>") < page.index('<button name="open"'), "what Enter presses"
        row, chosen = first[0]
        sent = {f"device-{row}": chosen, f"person-{row}": "mia", f"called-{row}": "hers", "open": lines[-1]}
        answer = local.post("/start/devices", data=sent, headers={"origin": web.url})
        assert answer.status_code == 303
        opened = local.get(answer.headers["location"]).text
        assert re.search(rf'id="open">.*?name="device-\d+" value="{lines[-1]}"', opened, re.DOTALL)
        assert chosen not in opened, "it has a name now"
        (number,) = re.findall(rf'name="device-(\d+)" value="{lines[-1]}"', opened)
        sent = {f"device-{number}": lines[-1], f"person-{number}": "tom", f"called-{number}": "his"}
        assert local.post("/start/devices", data=sent, headers={"origin": web.url}).headers["location"] == "/start/done"
    devices = web.control.policy().devices
    assert (devices["hers"].person, devices["his"].person) == ("mia", "tom")
    assert devices["his"].macs == (lines[-1],)


def test_pages_of_a_cafe_with_fifty_seats_are_light(web: Web) -> None:
    seats = "".join(f"  seat-{number}: {{ip: 192.168.9.{number}}}\n" for number in range(1, 51))
    web.policy_path.write_text(f"network: {{country: DE}}\nseats:\n{seats}")
    with parent(web) as local:
        assert {path: count for path in ("/devices", "/settings") if (count := elements(local, path)) > 800} == {}
        renamed = local.post(
            "/devices/seat/rename", data={"seat": "seat-7", "name": "window"}, headers={"origin": web.url}
        )
        assert renamed.status_code == 303
        assert "window" in local.get("/devices").text
