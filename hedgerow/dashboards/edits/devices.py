"""Edits of named devices: their owner, name and kind. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.edits.household import (
    assign_device_edits,
    can_be_inspected,
    find_device,
    find_person,
    name_device_edits,
    parse_address,
    parse_name,
)
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, rename, replace
from hedgerow.network.discovery import is_randomised_mac
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.identity import Use, is_a_childs, is_enough
from hedgerow.policies.model import Device, Policy

ADULT = "adult"
"""The profile in whose devices people sign in."""

EVERYBODY, NOBODY = "everybody", ""
"""Owners that are not a person: shared by all people, or without rules of its own."""


def owner_of(device: Device) -> str:
    """Return the owner as forms and the API name it: `person:NAME`, `everybody`, `profile:NAME`, or empty for nobody.

    A device shared by some of the people is `shared`, which cannot be chosen.
    """
    if device.person is not None:
        return f"person:{device.person}"
    if device.sharers:
        return "shared"
    return f"profile:{device.profile}" if device.has_profile else NOBODY


def lets_sign_in(policy: Policy, owner: str) -> bool:
    """Return whether people in charge can sign in on a device of this owner: it follows the rules for adults."""
    kind, _, name = owner.partition(":")
    if kind == "profile":
        return name == ADULT
    if owner == EVERYBODY:
        return all(person.profile == ADULT for person in policy.people.values())
    person = policy.people.get(name or owner)
    return (person.profile if person is not None else policy.network.unknown_devices) == ADULT


def takes_password(policy: Policy, view: DeviceView) -> bool:
    """Return whether people in charge may sign in on a device, or accept an invitation, for some hours.

    They may not on a seat, on a device that follows the rules of a child because the policy names it or its person, and
    on one that claims a host name of the policy. A device that nobody has named may be anybody's.
    """
    known, person = policy.devices.get(view.device), policy.people.get(view.person or "")
    return not (
        view.is_seat
        or not is_enough(view.grade, Use.SIGN_IN)
        or (known is not None and is_a_childs(policy, known))
        or (person is not None and policy.profiles[person.profile].is_for_children)
    )


def has_owner(policy: Policy, device: Device, owner: str) -> bool:
    """Return whether an owner has the device already."""
    return owner == owner_of(device) or (
        owner == EVERYBODY and set(device.sharers) == set(policy.people) and len(policy.people) > 1
    )


def owner_edits(policy: Policy, device: str, owner: str) -> list[Edit]:
    """Give a device to a person, to everybody or to nobody, or let it follow a profile without a person.

    Raises `InvalidInput`.

    A person's name alone is an owner too.
    """
    known = find_device(policy, device)
    owner = f"person:{owner}" if owner in policy.people and owner != EVERYBODY else owner
    if known.is_seat:
        raise InvalidInput("%(device)s is a seat: its guests use it in turn.", device=device)
    kind, _, name = owner.partition(":")
    if has_owner(policy, known, owner):
        return []
    if kind == "profile":
        return _profile_edits(policy, known, name)
    path = ("devices", device, "profile")
    without = [put(path, None)] if known.has_profile else []
    if owner == NOBODY:
        return [*assign_device_edits(policy, device, ""), *without]
    if owner == EVERYBODY and policy.people:
        return [*(include(("people", person, "devices"), device) for person in policy.people), *without]
    if kind != "person":
        raise InvalidInput("Choose to whom the device belongs.")
    find_person(policy, name)
    return [*assign_device_edits(policy, device, name), *without]


def _profile_edits(policy: Policy, device: Device, profile: str) -> list[Edit]:
    if profile not in policy.profiles:
        raise InvalidInput("There is no profile '%(profile)s'.", profile=profile)
    if not can_be_inspected(device):
        raise InvalidInput("Give the device a name first.")
    return [*assign_device_edits(policy, device.id, ""), put(("devices", device.id, "profile"), profile)]


def owners_edits(policy: Policy, devices: Iterable[str], owner: str) -> list[Edit]:
    """Give several devices the same owner. Raises `InvalidInput`, also if there are none."""
    chosen = list(dict.fromkeys(devices))
    if not chosen:
        raise InvalidInput("Choose at least one device.")
    return [edit for device in chosen for edit in owner_edits(policy, device, owner)]


def rename_device_edits(policy: Policy, device: str, name: str) -> list[Edit]:
    """Rename a device, also where people list it; a device known by its address only gets an entry.

    Raises `InvalidInput`.
    """
    known = find_device(policy, device)
    if known.is_seat:
        raise InvalidInput("%(device)s is a seat: its guests use it in turn.", device=device)
    if " ".join(name.split()) == device:
        return []
    if not can_be_inspected(known):
        return name_device_edits(policy, device, name, known.person or "")
    name = parse_name(name, policy.devices)
    return [
        rename(("devices", device), name),
        *(replace(("people", user, "devices"), device, name, adds=False) for user in policy.people),
    ]


MAX_MACS = 8
"""MAC addresses of one device. Beyond that, the oldest addresses that it made up are removed."""


def same_device_edits(policy: Policy, seen_as: str, known: str) -> list[Edit]:
    """Give the address of a new device to a named one, which has changed it. Raises `InvalidInput`."""
    device = find_device(policy, known)
    if device.is_seat or not can_be_inspected(device):
        raise InvalidInput("Give the device a name first.")
    key, address = parse_address(seen_as)
    edits = [include(("devices", known, "ip" if key == "cidr" else key), address)]
    if key == "mac":
        made_up = [mac for mac in device.macs if is_randomised_mac(mac)]
        excess = max(0, len(device.macs) + 1 - MAX_MACS)
        edits += [exclude(("devices", known, "mac"), mac) for mac in made_up[:excess]]
    return [*edits, *(exclude(("people", other, "devices"), seen_as) for other in policy.people)]


def profile_device_edits(policy: Policy, seen_as: str, name: str, profile: str) -> list[Edit]:
    """Name a device that was seen, and let it follow a profile without a person. Raises `InvalidInput`."""
    return [*name_device_edits(policy, seen_as, name, ""), put(("devices", name, "profile"), profile)]


def free_device_name(policy: Policy, *candidates: str) -> str:
    """Return the first candidate that is a valid name, with a number if it is taken."""
    for candidate in candidates:
        with contextlib.suppress(InvalidInput):
            base = parse_name(candidate[:36])
            names = (base if number == 1 else f"{base} {number}" for number in range(1, len(policy.devices) + 2))
            return next(name for name in names if name not in policy.devices)
    raise InvalidInput("Give the device a name first.")


def kind_edits(policy: Policy, device: str, kind: str) -> list[Edit]:
    """Set the kind that pages show for a device; empty for a guess. Raises `InvalidInput`."""
    if kind not in {"", *DeviceKind}:
        raise InvalidInput("Choose what kind of device it is.")
    known = find_device(policy, device)
    if kind == (known.kind or ""):
        return []
    if not can_be_inspected(known):
        raise InvalidInput("Give the device a name first.")
    return [put(("devices", device, "kind"), str(kind) or None)]
