"""How each device stands to the gateway: a census made of the rulesets, from which the sets of nftables are filled. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.ruleset import Rulesets

type Subnet = IPv4Network | IPv6Network

_NO_DEVICE = DeviceId("")


class AccessState(StrEnum):
    """What the gateway does with a device's traffic."""

    OPEN = "open"  # nothing: its rules do not block the ways round a filter
    GUARDED = "guarded"  # keeps it on the path
    CLOSED = "closed"  # a pause, a bedtime, a spent budget: nothing leaves


@dataclass(frozen=True, slots=True)
class DeviceStates:
    """Every device's standing until the instant `until` (seconds since the epoch; None: for good).

    `networks` do not overlap. `others` is the standing of devices that are named nowhere.
    """

    macs: tuple[tuple[str, AccessState], ...] = ()
    networks: tuple[tuple[Subnet, AccessState], ...] = ()
    others: AccessState = AccessState.GUARDED
    until: float | None = None

    def macs_in(self, access: AccessState) -> tuple[str, ...]:
        return tuple(mac for mac, its in self.macs if its is access)

    def networks_in(self, access: AccessState, version: int) -> tuple[Subnet, ...]:
        return tuple(network for network, its in self.networks if its is access and network.version == version)

    def is_same(self, other: DeviceStates | None) -> bool:
        """Whether the gateway would look the same; how long it holds is no part of that."""
        return other is not None and (self.macs, self.networks, self.others) == (other.macs, other.networks, other.others)


def compute_device_states(rulesets: Rulesets, now: float, also: Iterable[DeviceId] = ()) -> DeviceStates:
    """The standing of every device that the policy, a grant, a pause or a sitting names, of those in `also`, and of all others."""
    policy = rulesets.policy
    boundaries: list[float] = []

    def access(device: Device) -> AccessState:
        ruleset = rulesets.ruleset(device, now)
        if ruleset.until is not None:
            boundaries.append(ruleset.until)
        if ruleset.closed is not None:
            return AccessState.CLOSED
        return AccessState.GUARDED if ruleset.rules.bypass else AccessState.OPEN

    macs: dict[str, AccessState] = {}
    networks: list[tuple[Subnet, AccessState]] = []
    for device in (*policy.devices.values(), *_unnamed_devices(rulesets, also)):
        its = access(device)
        macs.update((mac, its) for mac in device.macs)
        networks += ((network, its) for network in device.networks)
    others = access(Device(_NO_DEVICE, policy.network.unknown_devices, known=False))
    for key, device in rulesets.devices.named():
        # A name can be taken by anybody: it closes, and opens nothing, for its ruleset holds what the device has without it.
        its = access(device)
        if key.count(":") == 5 and len(key) == 17:
            macs[key] = its
        elif rulesets.devices.find(key) == device:
            networks.append((ip_network(key), its))
    return DeviceStates(tuple(sorted(macs.items())), without_overlaps(networks), others, min(boundaries, default=None))


def _unnamed_devices(rulesets: Rulesets, also: Iterable[DeviceId]) -> Iterator[Device]:
    """Devices without a name for which something holds all the same: their id is their MAC or their address."""
    named = rulesets.policy.devices
    macs = {mac for device in named.values() for mac in device.macs}
    given = {*also, *(grant.device for grant in rulesets.grants), *(pause.device for pause in rulesets.pauses)}
    given |= {session.device for session in rulesets.sessions}
    for id in sorted(id for id in given if id is not None and id not in named and id not in macs):
        profile = rulesets.policy.network.unknown_devices
        if id.count(":") == 5 and len(id) == 17:
            yield Device(id, profile, macs=(id,), known=False)
            continue
        try:
            network = ip_network(id)
        except ValueError:
            continue  # a device that the policy no longer names
        if rulesets.devices.find(str(network.network_address)) == Device(id, profile, known=False):
            yield Device(id, profile, networks=(network,), known=False)


def without_overlaps(networks: Iterable[tuple[Subnet, AccessState]]) -> tuple[tuple[Subnet, AccessState], ...]:
    """The same standings without overlaps: the longer network decides, as it does everywhere else.

    >>> [str(network) for network, _ in without_overlaps([(ip_network("10.0.0.0/30"), AccessState.OPEN),
    ... (ip_network("10.0.0.1"), AccessState.CLOSED)])]
    ['10.0.0.0/32', '10.0.0.1/32', '10.0.0.2/31']
    """
    flat: list[tuple[Subnet, AccessState]] = []
    for network, access in sorted(networks, key=lambda pair: pair[0].prefixlen):
        flat = [(piece, its) for known, its in flat for piece in _exclude(known, network)]
        flat.append((network, access))
    return tuple(sorted(flat, key=lambda pair: (pair[0].version, int(pair[0].network_address))))


def _exclude(network: Subnet, taken: Subnet) -> Iterable[Subnet]:
    if isinstance(network, IPv4Network) and isinstance(taken, IPv4Network):
        return network.address_exclude(taken) if taken.subnet_of(network) else (network,)
    if isinstance(network, IPv6Network) and isinstance(taken, IPv6Network):
        return network.address_exclude(taken) if taken.subnet_of(network) else (network,)
    return (network,)
