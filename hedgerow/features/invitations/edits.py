"""Edits that name the device on which somebody accepts an invitation. Pure."""

from __future__ import annotations

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.edits.devices import ADULT, free_device_name
from hedgerow.dashboards.edits.household import assign_device_edits, name_device_edits
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.policies.identity import Use, is_a_childs, is_enough
from hedgerow.policies.model import Policy


def is_refused_at(policy: Policy, view: DeviceView) -> bool:
    """Return whether nobody accepts an invitation on a device: a child's, or a seat that guests use in turn."""
    device, person = policy.devices.get(view.device), policy.people.get(view.person or "")
    return (
        view.is_seat
        or not is_enough(view.grade, Use.SIGN_IN)
        or (device is not None and is_a_childs(policy, device))
        or (person is not None and policy.profiles[person.profile].is_for_children)
    )


def own_device_edits(policy: Policy, view: DeviceView, name: str, kind: str) -> list[Edit]:
    """Give the device of an invited person to them, and add them as an adult if the policy does not have them.

    Nothing for a device that people use already, or whose own address is not known. Raises `InvalidInput`.
    """
    known = policy.devices.get(view.device)
    if "/" in view.device or (known is not None and (known.person is not None or known.sharers)):
        return []
    called: str = view.device
    edits = [put(("devices", called, "profile"), None)] if known is not None and known.has_profile else []
    if known is None:
        called = free_device_name(policy, f"{name} {kind}", "Device")
        edits = name_device_edits(policy, view.device, called, "")
    if name in policy.people:
        return [*edits, *assign_device_edits(policy, called, name)]
    return [*edits, put(("people", name), {"profile": ADULT, "devices": [called]})]
