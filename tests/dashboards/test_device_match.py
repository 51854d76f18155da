"""Which known device a new one may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hedgerow.dashboards.pages.device_cards import (
    DeviceTraits,
    likely_matches,
    likely_names,
    looks_like_equipment,
    new_device_cards,
)
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy

RANDOM, OTHER_RANDOM, BUILT_IN, OTHER_BUILT_IN = (
    "da:a1:19:00:00:01",
    "da:a1:19:00:00:02",
    "00:16:3e:00:00:01",
    "00:16:3e:00:00:02",
)
NOON, MINUTE, HOUR = 1_800_014_400.0, 60.0, 3600.0
TABLET = DeviceTraits(
    DeviceId("Mia's tablet"), BUILT_IN, ("Mia's tablet",), "Samsung", DeviceKind.TABLET, NOON - 1000 * HOUR, NOON
)
PHONE = DeviceTraits(
    DeviceId("tom-phone"), RANDOM, ("tom-phone", "Toms-Pixel.lan"), "", DeviceKind.PHONE, NOON - 1000 * HOUR, NOON
)
NEW = DeviceTraits(DeviceId(OTHER_RANDOM), OTHER_RANDOM, (), "", None, NOON + MINUTE, NOON + 2 * MINUTE)


@pytest.mark.parametrize(
    ("new", "known", "expected"),
    [
        (NEW, [TABLET], [TABLET.id]),  # "private address" was switched on
        (NEW, [replace(TABLET, last_seen=NOON - 2 * HOUR)], []),
        (NEW, [replace(TABLET, last_seen=NOON + HOUR)], []),  # both are here
        (NEW, [replace(TABLET, last_seen=None)], []),
        (
            replace(NEW, names=("toms-pixel",)),
            [TABLET, replace(PHONE, last_seen=NOON - 100 * HOUR)],
            [PHONE.id, TABLET.id],
        ),
        (replace(NEW, names=("toms-pixel",), kind=DeviceKind.PHONE), [TABLET, PHONE], [PHONE.id]),
        (replace(NEW, names=("iPhone",)), [replace(PHONE, names=("iPhone",), last_seen=NOON - 100 * HOUR)], []),
        (replace(NEW, mac=OTHER_BUILT_IN, maker="Nintendo"), [TABLET], []),  # another device was switched on
        (replace(NEW, mac=OTHER_BUILT_IN, maker="Samsung", kind=DeviceKind.TABLET), [TABLET], [TABLET.id]),
        (replace(NEW, mac=""), [TABLET], []),
        (NEW, [replace(TABLET, id=DeviceId(str(number))) for number in range(9)], []),  # equal signs tell nothing
        (NEW, [TABLET, replace(PHONE, last_seen=NOON - 100 * HOUR)], [TABLET.id]),
    ],
)
def test_likely_matches(new: DeviceTraits, known: list[DeviceTraits], expected: list[str]) -> None:
    assert list(likely_matches(new, known)) == expected


@pytest.mark.parametrize(("owner", "is_suggested"), [("{age: 9}", True), ("{profile: adult}", False)])
def test_an_adults_device_is_not_suggested(owner: str, is_suggested: bool) -> None:
    """A child takes a new address, and a parent's host name, when the parent's phone has left the house."""
    text = (
        f"people: {{kim: {owner.replace('}', ', devices: [kim-phone]}')}}}\ndevices: {{kim-phone: {{mac:"
        f" '{RANDOM}'}}}}\n"
    )
    policy = parse_policy(text.encode(), None)
    old = DeviceRow(DeviceId("kim-phone"), "192.168.1.8", RANDOM, "kim-phone", "kim", "adult", NOON - HOUR, NOON)
    new = DeviceRow(
        DeviceId(OTHER_RANDOM),
        "192.168.1.9",
        OTHER_RANDOM,
        "kim-phone",
        None,
        "child-8-12",
        NOON + MINUTE,
        NOON + MINUTE,
    )
    (card,) = new_device_cards(PolicyIndex(policy), [new, old], VendorLookup())
    found = [tuple(device.id for device in devices) for devices in (card.likely, card.likely_adults)]
    assert found == ([("kim-phone",), ()] if is_suggested else [(), ("kim-phone",)])
    assert likely_names(policy, [old], new, VendorLookup()) == (("kim-phone",) if is_suggested else ())


ROUTER, ROUTER_MAC = "192.168.1.1", "44:4e:6d:00:00:01"
PLACES = {ROUTER, ROUTER_MAC, "192.168.1.2"}


@pytest.mark.parametrize(
    ("address", "mac", "name", "maker", "expected"),
    [
        (ROUTER, ROUTER_MAC, "", "", True),
        (ROUTER, None, "", "", True),
        ("fd00::1", ROUTER_MAC, "", "", True),  # the router, at another address
        ("192.168.1.2", None, "hedgerow", "", True),  # this machine
        ("192.168.1.5", OTHER_BUILT_IN, "fritz.repeater", "", True),
        ("192.168.1.5", OTHER_BUILT_IN, "", "AVM GmbH", True),
        ("192.168.1.5", OTHER_BUILT_IN, "UniFi-AP-Flur", "Ubiquiti Inc", True),
        ("192.168.1.5", OTHER_BUILT_IN, "HP-LaserJet-4", "", True),
        ("192.168.1.5", OTHER_BUILT_IN, "", "Seiko Epson Corporation", True),
        ("192.168.1.5", OTHER_RANDOM, "Mias-iPad", "", False),
        ("192.168.1.5", OTHER_BUILT_IN, "Nintendo-Switch", "Nintendo Co.,Ltd", False),
        ("192.168.1.5", OTHER_BUILT_IN, "lavmobile", "Samsung", False),
        ("192.168.1.5", OTHER_BUILT_IN, "", "TP-Link", False),  # which also makes dongles and lamps
        ("192.168.1.5", OTHER_BUILT_IN, "grouter-phone", "Apple, Inc.", False),
    ],
)
def test_network_equipment_is_told_by_its_place_its_name_and_its_maker(
    address: str, mac: str | None, name: str, maker: str, expected: bool
) -> None:
    row = DeviceRow(DeviceId(mac or address), address, mac, name, None, "child-8-12", NOON, NOON)
    assert looks_like_equipment(row, maker, PLACES) is expected


def test_a_printer_with_a_made_up_address_is_no_childs_device_and_keeps_the_rules_of_a_stranger() -> None:
    """A teenager gives the phone the name of a printer: it is set apart on the page, and named as nobody's."""
    policy = parse_policy(
        b"people: {tom: {age: 15, devices: [tom-phone]}}\ndevices: {tom-phone: {mac: '%s'}}\n" % RANDOM.encode(), None
    )
    old = DeviceRow(DeviceId("tom-phone"), "192.168.1.8", RANDOM, "", "tom", "teen-13-15", NOON - HOUR, NOON)
    new = DeviceRow(
        DeviceId(OTHER_RANDOM),
        "192.168.1.9",
        OTHER_RANDOM,
        "laserjet",
        None,
        "child-8-12",
        NOON + MINUTE,
        NOON + MINUTE,
    )
    (card,) = new_device_cards(PolicyIndex(policy), [new, old], VendorLookup())
    assert (card.is_equipment, card.likely, card.likely_adults) == (True, (), ())
    assert likely_names(policy, [old], new, VendorLookup()) == ()
    device = PolicyIndex(policy).lookup.find("192.168.1.9", OTHER_RANDOM)
    assert device is not None
    assert (device.known, device.profile) == (False, "child-8-12"), "no rule looks at the name"
