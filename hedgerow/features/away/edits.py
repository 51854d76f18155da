"""Changes of the policy for devices that are away: their ids for encrypted DNS, and their ends of the tunnel."""

from __future__ import annotations

import secrets

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import can_be_inspected, find_device
from hedgerow.dashboards.edits.yaml_text import Edit, put, remove
from hedgerow.policies.model import Policy


def client_id_edit(policy: Policy, device: str) -> Edit:
    """Give a named device a new id of 128 random bits for encrypted DNS, in place of an older one.

    Raises `InvalidInput`.
    """
    if not can_be_inspected(find_device(policy, device)):
        raise InvalidInput("Give the device a name first.")
    return put(("devices", device, "client_id"), secrets.token_hex(16))


def tunnel_edit(policy: Policy, device: str, public_key: str) -> Edit:
    """Give a named device an end of the tunnel home, or another key for the one that it has. Raises `InvalidInput`."""
    known, tunnel = find_device(policy, device), policy.network.tunnel
    if not can_be_inspected(known):
        raise InvalidInput("Give the device a name first.")
    assert tunnel is not None  # the caller has its end
    taken = {each.tunnel.networks: each for each in policy.devices.values() if each.tunnel is not None}
    number = next((each for each in tunnel.places if taken.get(tunnel.addresses(each)) in (None, known)), None)
    if number is None:
        raise InvalidInput("All addresses inside the tunnel are in use.")
    return put(("devices", device, "tunnel"), {"key": public_key, "number": number})


def only_tunnel_edits(policy: Policy, device: str) -> list[Edit]:
    """Forget the MAC and IP addresses of a device with a tunnel, which others can copy. Raises `InvalidInput`."""
    if find_device(policy, device).tunnel is None:
        raise InvalidInput("%(device)s has no tunnel.", device=device)
    return [remove(("devices", device, key)) for key in ("mac", "ip")]


def close_tunnel_edit(policy: Policy, device: str) -> Edit:
    """Take a device's end of the tunnel home away. Raises `InvalidInput`."""
    if find_device(policy, device).tunnel is None:
        raise InvalidInput("%(device)s has no tunnel.", device=device)
    return remove(("devices", device, "tunnel"))
