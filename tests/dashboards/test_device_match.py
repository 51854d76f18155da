"""Which known device a new one may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hedgerow.dashboards.pages.device_cards import (
    DeviceTraits,
    likely_matches,
    likely_names,
    new_device_cards,
)
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.dashboards.recognised_devices import DeviceRole, HomePlaces, recognised
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.model import DeviceId, Verdict
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
PLACES = HomePlaces(own=frozenset({"192.168.1.2", "00:16:3e:00:00:09"}), router=frozenset({ROUTER, ROUTER_MAC}))
OWN, GATEWAY, NETWORK, THING, SHARED, PERSONAL = DeviceRole


@pytest.mark.parametrize(
    ("address", "mac", "name", "maker", "role", "kind"),
    [
        (ROUTER, ROUTER_MAC, "", "", GATEWAY, None),
        (ROUTER, None, "", "", GATEWAY, None),
        ("fd00::1", ROUTER_MAC, "", "", GATEWAY, None),  # the router, at another address
        ("192.168.1.2", None, "hedgerow", "", OWN, None),
        ("fd00::2", "00:16:3e:00:00:09", "", "Raspberry Pi Trading Ltd", OWN, DeviceKind.COMPUTER),
        ("192.168.1.5", OTHER_BUILT_IN, "fritz.repeater", "", NETWORK, None),
        ("192.168.1.5", OTHER_BUILT_IN, "", "AVM GmbH", NETWORK, None),
        ("192.168.1.5", OTHER_BUILT_IN, "UniFi-AP-Flur", "Ubiquiti Inc", NETWORK, None),
        ("192.168.1.5", OTHER_BUILT_IN, "HP-LaserJet-4", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_BUILT_IN, "", "Seiko Epson Corporation", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "HPB4B686", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "BRW707781C0FFEE", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "NPI2F3E4D", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "EPSON1A2B3C", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "Canon9d8e7f", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_RANDOM, "MFC-L2710DW", "", THING, DeviceKind.PRINTER),
        ("192.168.1.5", OTHER_BUILT_IN, "", "Reolink Innovation Limited", THING, DeviceKind.CAMERA),
        ("192.168.1.5", OTHER_BUILT_IN, "front-doorbell", "", THING, DeviceKind.CAMERA),
        ("192.168.1.5", OTHER_BUILT_IN, "DiskStation", "", THING, DeviceKind.STORAGE),
        ("192.168.1.5", OTHER_BUILT_IN, "nas", "", THING, DeviceKind.STORAGE),
        ("192.168.1.5", OTHER_BUILT_IN, "shelly1-4022D8", "", THING, DeviceKind.APPLIANCE),
        ("192.168.1.5", OTHER_BUILT_IN, "", "Espressif Inc.", THING, DeviceKind.APPLIANCE),
        ("192.168.1.5", OTHER_BUILT_IN, "LGwebOSTV", "", SHARED, DeviceKind.TELEVISION),
        ("192.168.1.5", OTHER_BUILT_IN, "", "Sonos, Inc.", SHARED, DeviceKind.SPEAKER),
        ("192.168.1.5", OTHER_RANDOM, "Mias-iPad", "", PERSONAL, DeviceKind.TABLET),
        ("192.168.1.5", OTHER_BUILT_IN, "Nintendo-Switch", "Nintendo Co.,Ltd", PERSONAL, DeviceKind.CONSOLE),
        ("192.168.1.5", OTHER_BUILT_IN, "lavmobile", "Samsung", PERSONAL, None),
        ("192.168.1.5", OTHER_BUILT_IN, "", "TP-Link", PERSONAL, None),  # which also makes dongles and lamps
        ("192.168.1.5", OTHER_BUILT_IN, "grouter-phone", "Apple, Inc.", PERSONAL, DeviceKind.PHONE),
        ("192.168.1.5", OTHER_RANDOM, "brothers-iphone", "", PERSONAL, DeviceKind.PHONE),
        ("192.168.1.5", OTHER_RANDOM, "Carlos-phone", "", PERSONAL, DeviceKind.PHONE),
        ("192.168.1.5", OTHER_RANDOM, "hp-envy-laptop", "", PERSONAL, DeviceKind.COMPUTER),
        ("192.168.1.5", OTHER_RANDOM, "Jonas-Tablet", "", PERSONAL, DeviceKind.TABLET),
    ],
)
def test_a_device_is_told_by_its_place_its_name_and_its_maker(
    address: str, mac: str | None, name: str, maker: str, role: DeviceRole, kind: DeviceKind | None
) -> None:
    row = DeviceRow(DeviceId(mac or address), address, mac, name, None, "child-8-12", NOON, NOON)
    found = recognised(row, maker, PLACES)
    assert (found.role, found.kind) == (role, kind)


@pytest.mark.parametrize(
    ("allowed", "blocked", "role", "asks"),
    [
        (["www.hpeprint.com", "pool.ntp.org"], [], THING, ("hpeprint.com",)),
        (["lgtvsdp.com", "www.youtube.com"], [], SHARED, ("lgtvsdp.com", "YouTube")),
        (["m2.tuyaeu.com", "a2.tuyaeu.com"], [], THING, ("tuyaeu.com",)),
        (["www.roblox.com", "en.wikipedia.org", "www.hpeprint.com"], [], PERSONAL, ("Roblox", "wikipedia.org")),
        ([], ["adult.example"], PERSONAL, ()),
        (["pool.ntp.org"], [], PERSONAL, ()),
    ],
)
def test_a_device_is_told_by_what_it_asks_for(
    allowed: list[str], blocked: list[str], role: DeviceRole, asks: tuple[str, ...]
) -> None:
    """A phone asks for a printer's site too, among many others. Nobody reads what a device may not see."""
    row = DeviceRow(DeviceId(OTHER_RANDOM), "192.168.1.5", OTHER_RANDOM, "", None, "child-8-12", NOON, NOON)
    asked = dict.fromkeys(allowed, Verdict.ALLOW) | dict.fromkeys(blocked, Verdict.BLOCK)
    found = recognised(row, "", PLACES, asked)
    assert (found.role, found.asks) == (role, asks)


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
    assert (card.found.role, card.likely, card.likely_adults) == (THING, (), ())
    assert likely_names(policy, [old], new, VendorLookup()) == ()
    device = PolicyIndex(policy).lookup.find("192.168.1.9", OTHER_RANDOM)
    assert device is not None
    assert (device.known, device.profile) == (False, "child-8-12"), "no rule looks at the name"
