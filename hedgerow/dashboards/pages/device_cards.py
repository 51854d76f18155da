"""Cards of devices: what each is, whose it is, which protections are live on it, and when it was last seen.

A new device may be a known one: a phone that changed its MAC address looks like one that has just left. The signs are
the name that it gives to the DHCP server, its maker, its kind, and whether the known device fell silent when it came.
DHCP fingerprints (option 55) are not among them, because servers do not write them to their lease files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from hedgerow.dashboards.edits.devices import owner_of
from hedgerow.dashboards.policy_index import PolicyIndex, users_of
from hedgerow.dashboards.protections import DeviceProtections, protections_by_device
from hedgerow.dashboards.recognised_devices import RecognisedDevice, recognise
from hedgerow.journal.activity import ActivityReader
from hedgerow.journal.reader import DeviceRow, JournalReader
from hedgerow.journal.sightings import BRIEF_S
from hedgerow.network.discovery import VendorLookup, is_randomised_mac
from hedgerow.policies.device_kinds import DeviceKind, guess_kind
from hedgerow.policies.model import Device, DeviceId, Policy
from hedgerow.policies.text.addresses import parse_mac

MAX_MATCHES = 2
TOGETHER_S = 300.0
"""Seconds for which both may be seen: reports of the old address arrive late."""
JUST_LEFT_S, LATELY_LEFT_S = 900.0, 86_400.0

_SAME_NAME, _JUST_LEFT, _LATELY_LEFT, _SAME_MAKER, _SAME_KIND, _RANDOM_MAC = 3, 2, 1, 1, 1, 1
_LIKELY = 3
PAGE_SIZE = 24
"""Devices on a page, so that it stays small with thousands of them."""

NEW_DEVICES = 100
"""Devices without a name that are shown at a time."""

MAX_BRIEF = 12
"""Devices without a name that were seen for a few minutes only, and are shown one by one.

More are made up, or pass by in the street.
"""

RECENT_DEVICES = 500
"""Devices seen last among which new ones are looked for, and what they may be."""


@dataclass(frozen=True, slots=True)
class DeviceTraits:
    """Traits by which a device is recognised. Instants are in seconds since the epoch, None if it was never seen."""

    id: DeviceId
    mac: str
    names: tuple[str, ...] = ()
    maker: str = ""
    kind: DeviceKind | None = None
    first_seen: float | None = None
    last_seen: float | None = None


def likely_matches(new: DeviceTraits, known: Iterable[DeviceTraits]) -> tuple[DeviceId, ...]:
    """Return the known devices that a new one may be, the likeliest first.

    There are none for a device without a MAC address, and none if two are equally likely: no sign tells them apart.
    """
    scored = sorted(((likeness(new, each), each.id) for each in known), reverse=True)
    if not new.mac or (len(scored) > 1 and scored[0][0] == scored[1][0]):
        return ()
    return tuple(id for score, id in scored[:MAX_MATCHES] if score >= _LIKELY)


def likeness(new: DeviceTraits, old: DeviceTraits) -> int:
    """Return a score: 0 if they cannot be the same device, since both are on the network or are of different kinds."""
    silent = None if None in (new.first_seen, old.last_seen) else (new.first_seen or 0.0) - (old.last_seen or 0.0)
    is_another_kind = None not in (new.kind, old.kind) and new.kind is not old.kind
    if is_another_kind or (silent is not None and silent < -TOGETHER_S):
        return 0
    signs = (
        (_SAME_NAME, bool(_plain(new.names) & _plain(old.names))),
        (_SAME_MAKER, bool(new.maker) and new.maker == old.maker),
        (_SAME_KIND, new.kind is not None and new.kind is old.kind),
        (_RANDOM_MAC, any(is_randomised_mac(mac) for mac in (new.mac, old.mac) if mac)),
        (_JUST_LEFT, silent is not None and silent <= JUST_LEFT_S),
        (_LATELY_LEFT, silent is not None and JUST_LEFT_S < silent <= LATELY_LEFT_S),
    )
    return sum(score for score, is_there in signs if is_there)


def _plain(names: Collection[str]) -> set[str]:
    """Return names without case, punctuation and the domain that a DHCP server adds."""
    plain = {re.sub(r"[\W_]", "", name.partition(".")[0].casefold()) for name in names}
    return plain - {"", "android", "iphone", "ipad"}


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """A search in names, owners, makers and addresses, a page of its results, counted from 1, and a device that is
    shown besides.
    """

    text: str = ""
    page: int = 1
    opened: str = ""


@dataclass(frozen=True, slots=True)
class DeviceCard:
    """A device of the policy.

    `kind` is the policy's or a guess; `maker` is empty if unknown, or for an address that the device made up.
    """

    id: str
    device: Device
    seen: DeviceRow | None
    kind: DeviceKind | None
    maker: str
    mac: str
    protections: DeviceProtections
    owner: str

    @property
    def has_random_mac(self) -> bool:
        return bool(self.mac) and is_randomised_mac(self.mac)

    @property
    def group(self) -> str:
        """The people who use it, or an empty text for a device without a person."""
        return users_of(self.device)

    def matches(self, words: Sequence[str]) -> bool:
        """Return whether each word occurs in what the card shows."""
        seen = (self.seen.address, self.seen.name) if self.seen else ()
        text = " ".join((self.id, self.group, self.maker, self.mac, self.kind or "", *seen)).casefold()
        return all(word in text for word in words)


@dataclass(frozen=True, slots=True)
class NewDeviceCard:
    """A device without a name in the policy, that was seen on the network.

    `likely` are named ones that it may be, with a new address.

    `likely_adults` are those of adults. A device can make up all signs of them, so they are not what the page suggests
    or a notice names.
    """

    id: str
    seen: DeviceRow
    found: RecognisedDevice
    likely: tuple[Device, ...] = ()
    likely_adults: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class CardPage:
    """Cards of one page by the people who use the devices. `number` counts from 1."""

    groups: list[tuple[str, list[DeviceCard]]]
    number: int
    pages: int
    count: int


@dataclass(frozen=True, slots=True)
class DeviceCards:
    """A page of the devices of the policy that match, by owner and name, and new devices, the latest first."""

    found: CardPage
    new: list[NewDeviceCard]
    brief: int

    @classmethod
    def load(
        cls,
        index: PolicyIndex,
        reader: JournalReader,
        activity: ActivityReader,
        vendors: VendorLookup,
        wanted: DeviceFilter,
        *,
        since: float,
        has_gateway: bool,
    ) -> DeviceCards:
        """Read what is known of the devices of a page.

        Reads the journal, and the registers of makers: call it from a thread.
        """
        words = wanted.text.casefold().split()
        matching = _matching(index, reader, vendors, words, since) if words else index.by_owner
        pages = max(1, -(-len(matching) // PAGE_SIZE))
        number = min(max(1, wanted.page), pages)
        shown = [
            device
            for place, device in enumerate(matching)
            if place // PAGE_SIZE == number - 1 or device.id == wanted.opened
        ]
        seen = rows_of_named(index, reader.devices(since, keys_of(shown)))
        rows = reader.protections([device.id for device in shown])
        protections = protections_by_device(shown, rows, has_gateway=has_gateway)
        groups: dict[str, list[DeviceCard]] = {}
        for device in shown:
            card = _card(device, seen.get(device.id), vendors, protections[device.id])
            groups.setdefault("seat:" if device.is_seat else card.group, []).append(card)
        recent = reader.recent_devices(since, RECENT_DEVICES)
        new, brief = (
            new_device_cards(index, recent, vendors, activity),
            len(fold_brief(unnamed_devices(index, recent))[1]),
        )
        return cls(CardPage(list(groups.items()), number, pages, len(matching)), new, brief)


def _matching(
    index: PolicyIndex, reader: JournalReader, vendors: VendorLookup, words: Sequence[str], since: float
) -> Sequence[Device]:
    """Return the devices of the policy in which every word of a search occurs."""
    seen = rows_of_named(index, reader.devices(since))
    nothing = protections_by_device(index.by_owner, (), has_gateway=False)
    cards = (_card(device, seen.get(device.id), vendors, nothing[device.id]) for device in index.by_owner)
    return [card.device for card in cards if card.matches(words)]


def keys_of(devices: Iterable[Device]) -> list[str]:
    """Return what the journal may call devices: their names or, until they got them, their addresses."""
    return [
        key
        for device in devices
        for key in (
            device.id,
            *device.macs,
            *(str(network.network_address) for network in device.networks if network.num_addresses == 1),
        )
    ]


def _card(device: Device, seen: DeviceRow | None, vendors: VendorLookup, protections: DeviceProtections) -> DeviceCard:
    mac = next(iter(device.macs), None) or parse_mac(seen.mac or "" if seen else "") or ""
    maker = vendors.vendor(mac) if mac else ""
    names = (device.id, seen.name if seen else "", *device.hostnames)
    return DeviceCard(
        device.id,
        device,
        seen,
        device.kind or guess_kind(*names, vendor=maker),
        maker,
        mac,
        protections,
        owner_of(device),
    )


def new_device_cards(
    index: PolicyIndex, rows: Sequence[DeviceRow], vendors: VendorLookup, activity: ActivityReader | None = None
) -> list[NewDeviceCard]:
    """Return the first devices without a name: people's devices, then what a family shares, then what is set apart;
    each in the order of `rows`.

    Reads the registers of makers, and with `activity` what the devices ask for: call it from a thread.

    In a large network, only devices in `rows` are compared with the new ones.
    """
    policy = index.policy
    seen = rows_of_named(index, rows)
    candidates = policy.devices if len(policy.devices) <= RECENT_DEVICES else seen
    known = [
        _traits(name, device.macs, seen.get(name), vendors, device)
        for name in candidates
        if not (device := policy.devices[DeviceId(name)]).is_seat
    ]
    cards, unnamed = [], fold_brief(unnamed_devices(index, rows))[0][:NEW_DEVICES]
    found = recognise(unnamed, vendors, activity)
    for row in sorted(unnamed, key=lambda row: found[row.device].place):
        candidates_of = () if found[row.device].role.is_apart else known
        matches = [policy.devices[id] for id in likely_matches(_traits(row.device, (), row, vendors), candidates_of)]
        likely = tuple(each for each in matches if policy.profiles[each.profile].is_for_children)
        adults = tuple(each for each in matches if each not in likely)
        cards.append(NewDeviceCard(row.device, row, found[row.device], likely, adults))
    return cards


def likely_names(policy: Policy, rows: Sequence[DeviceRow], new: DeviceRow, vendors: VendorLookup) -> tuple[str, ...]:
    """Return the named devices that a new one may be.

    `rows` are all devices seen. As `new_device_cards`, for a thread.
    """
    cards = new_device_cards(PolicyIndex(policy), [new, *(row for row in rows if row.device != new.device)], vendors)
    return tuple(device.id for card in cards if card.id == new.device for device in card.likely)


def _traits(
    id: str, macs: Sequence[str], row: DeviceRow | None, vendors: VendorLookup, device: Device | None = None
) -> DeviceTraits:
    mac = next(iter(macs), None) or (parse_mac(row.mac or row.device) if row else None) or ""
    maker = vendors.vendor(mac) if mac else ""
    names = (*((id, *device.hostnames) if device is not None else ()), *((row.name,) if row and row.name else ()))
    kind = (device.kind if device is not None else None) or guess_kind(*names, vendor=maker)
    return DeviceTraits(
        DeviceId(id), mac, names, maker, kind, row.first_seen if row else None, row.last_seen if row else None
    )


def rows_of_named(index: PolicyIndex, rows: Iterable[DeviceRow]) -> dict[str, DeviceRow]:
    """Return the latest row of each device of the policy."""
    find, devices, seen = index.lookup.find, index.policy.devices, dict[str, DeviceRow]()
    for row in rows:
        # A device that was renamed just now is still in the journal under its old name.
        device = devices.get(row.device) or find(row.address or row.device, row.mac or parse_mac(row.device))
        if device is not None and device.known:
            seen.setdefault(device.id, row)
    return seen


def unnamed_devices(index: PolicyIndex, rows: Iterable[DeviceRow]) -> list[DeviceRow]:
    """Return the rows of devices without a name, one per device. Rows from before a device was named are left out.

    An IPv6 link-local address is not a device, and neither is an IP address at which a device with a MAC address was
    seen.
    """
    find, devices, rows = index.lookup.find, index.policy.devices, tuple(rows)
    at_devices = {row.address for row in rows if row.mac or parse_mac(row.device)}
    unnamed = []
    for row in rows:
        if "/" in row.device or (row.device in at_devices and row.mac is None):
            continue
        device = find(row.address or row.device, row.mac or parse_mac(row.device))
        if row.device not in devices and (device is None or not device.known):
            unnamed.append(row)
    return unnamed


def fold_brief(unnamed: Sequence[DeviceRow]) -> tuple[list[DeviceRow], list[DeviceRow]]:
    """Divide devices without a name into those to show, and those of too many that were seen for a few minutes only.

    Those that stay come first.

    A device can invent any number of addresses, among which people would not find the one that needs a name.
    """
    brief = [row for row in unnamed if row.last_seen - row.first_seen < BRIEF_S]
    stayed = [row for row in unnamed if row.last_seen - row.first_seen >= BRIEF_S]
    return [*stayed, *brief[:MAX_BRIEF]], brief[MAX_BRIEF:]
