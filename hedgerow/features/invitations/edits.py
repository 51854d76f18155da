"""Edits that name the device on which somebody accepts an invitation. Pure."""

from __future__ import annotations

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.edits.devices import ADULT, free_device_name
from hedgerow.dashboards.edits.household import assign_device_edits, name_device_edits
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.policies.model import Policy


def own_device_edits(policy: Policy, view: DeviceView, name: str, kind: str) -> list[Edit]:
    """Name the device of an invited person as theirs, and add them as an adult if the policy does not have them.

    Raises `InvalidInput`.
    """
    called = free_device_name(policy, f"{name} {kind}", "Device")
    edits = name_device_edits(policy, view.device, called, "")
    if name in policy.people:
        return [*edits, *assign_device_edits(policy, called, name)]
    return [*edits, put(("people", name), {"profile": ADULT, "devices": [called]})]
