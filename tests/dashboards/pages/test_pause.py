"""A pause for everybody leaves alone whoever ordered it, unless they say "me too": on the page and in the API."""

import asyncio

import httpx
import pytest
from web_server import NOW

from hedgerow.dashboards.control import DeviceView, PauseExemption, pause_exemption
from hedgerow.dashboards.scopes import Role
from hedgerow.policies.model import DeviceId

PASSWORD = "four words and more"
PHONE, TABLET, STRANGE, SEAT = "127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24"


@pytest.fixture
def family(web):
    """Mia's family with Ana's account and phone, a tablet of Mia's, a phone without a name, and a seat."""
    web.policy_path.write_text(web.policy_path.read_text().replace("  tom:\n", "  Ana: {profile: adult}\n  tom:\n"))
    devices = web.control.devices
    devices[PHONE] = DeviceView(DeviceId("ana-phone"), "Ana", "adult", may_sign_in=True)
    devices[TABLET] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    devices[STRANGE] = DeviceView(DeviceId(STRANGE), None, "child-8-12")
    devices[SEAT] = DeviceView(DeviceId("seat-1"), None, "child-8-12", is_seat=True)
    asyncio.run(web.accounts.create("ana", Role.PARENT, PASSWORD))
    return web


def signed_in(web, address):
    session = asyncio.run(web.accounts.sign_in("ana", PASSWORD, "", address, ""))
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    headers = {"origin": web.url, "cookie": f"hedgerow_session={session}"}
    return httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=30, headers=headers)


def pauses(client):
    return [
        (each["person"], each["spared_person"], each["spared_device"])
        for each in client.get("/api/v1/grants").json()["pauses"]
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (None, "Ana", "ana-phone")),
        ({"me_too": "yes"}, (None, None, None)),
        ({"person": "mia"}, ("mia", None, None)),
        ({"person": "mia", "me_too": "yes"}, ("mia", None, None)),
    ],
)
def test_the_page_spares_the_one_who_pressed(family, form, expected):
    with signed_in(family, PHONE) as phone:
        assert phone.post("/pause", data={"minutes": "30"} | form).status_code == 303
        assert pauses(phone) == [expected]
        page = phone.get("/day").text
        assert ("except Ana, ana-phone" in page) == (expected[1] == "Ana")
        assert 'name="me_too"' in page


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"everybody": True}, (None, "Ana", "ana-phone")),
        ({"everybody": True, "me_too": True}, (None, None, None)),
        ({"everybody": True, "except_person": "tom"}, (None, "tom", None)),
        ({"everybody": True, "except_device": "mia-tablet", "minutes": 5}, (None, None, "mia-tablet")),
        ({"person": "mia"}, ("mia", None, None)),
    ],
)
def test_the_api_does_the_same(family, order, expected):
    with signed_in(family, PHONE) as phone:
        answer = phone.post("/api/v1/pause", json=order).json()
        assert (answer["person"], answer["spared_person"], answer["spared_device"]) == expected
        assert pauses(phone) == [expected]


@pytest.mark.parametrize(
    ("address", "device"),
    [(PHONE, "ana-phone"), (STRANGE, STRANGE), (TABLET, None), (SEAT, None), ("127.0.0.99", None), ("", None)],
)
def test_the_device_in_use_is_spared_unless_it_is_anothers(family, address, device):
    assert pause_exemption(family.control, "ANA", address) == PauseExemption("Ana", device)
    assert pause_exemption(family.control, "token x", address).person is None


def test_the_exception_is_kept_with_the_pause(family):
    held = family.ledger.pause("ana", ends=NOW + 60, spared_person="Ana", spared_device=DeviceId("ana-phone"))
    with signed_in(family, PHONE) as phone:
        assert pauses(phone) == [(None, "Ana", "ana-phone")]
    assert (held.spared_person, held.spared_device) == ("Ana", "ana-phone")
