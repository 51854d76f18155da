"""Which known device a new one may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hedgerow.dashboards.pages.device_cards import DeviceTraits, likely_matches, likely_names, new_device_cards
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
        (NEW, [replace(TABLET, id=DeviceId(str(number))) for number in range(9)], ["8", "7"]),
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
