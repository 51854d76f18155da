"""How each device stands to the gateway: a census made of the rulesets, from which the sets of nftables are filled. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.ruleset import Rulesets

type Network = IPv4Network | IPv6Network

_NOBODY = DeviceId("")


class Standing(StrEnum):
    """What the gateway does with a device's traffic."""

    OPEN = "open"  # nothing: its rules do not block the ways round a filter
    GUARDED = "guarded"  # keeps it on the path
    CLOSED = "closed"  # a pause, a bedtime, a spent budget: nothing leaves


@dataclass(frozen=True, slots=True)
class Census:
    """Every device's standing until the instant `until` (seconds since the epoch; None: for good).

    `networks` do not overlap. `others` is the standing of devices that are named nowhere.
    """

    macs: tuple[tuple[str, Standing], ...] = ()
    networks: tuple[tuple[Network, Standing], ...] = ()
    others: Standing = Standing.GUARDED
    until: float | None = None

    def macs_of(self, standing: Standing) -> tuple[str, ...]:
        return tuple(mac for mac, its in self.macs if its is standing)

    def networks_of(self, standing: Standing, version: int) -> tuple[Network, ...]:
        return tuple(network for network, its in self.networks if its is standing and network.version == version)

    def is_same(self, other: Census | None) -> bool:
        """Whether the gateway would look the same; how long it holds is no part of that."""
        return other is not None and (self.macs, self.networks, self.others) == (other.macs, other.networks, other.others)


def take_census(rulesets: Rulesets, now: float, also: Iterable[DeviceId] = ()) -> Census:
    """The standing of every device that the policy, a grant, a pause or a sitting names, of those in `also`, and of all others."""
    policy = rulesets.policy
    boundaries: list[float] = []

    def standing(device: Device) -> Standing:
        ruleset = rulesets.ruleset(device, now)
        if ruleset.until is not None:
            boundaries.append(ruleset.until)
        if ruleset.closed is not None:
            return Standing.CLOSED
        return Standing.GUARDED if ruleset.rules.bypass else Standing.OPEN

    macs: dict[str, Standing] = {}
    networks: list[tuple[Network, Standing]] = []
    for device in (*policy.devices.values(), *_unnamed(rulesets, also)):
        its = standing(device)
        macs.update((mac, its) for mac in device.macs)
        networks += ((network, its) for network in device.networks)
    others = standing(Device(_NOBODY, policy.network.unknown_devices, known=False))
    for key, device in rulesets.devices_by_name():
        # A name can be taken by anybody: it closes, and opens nothing, for its ruleset holds what the device has without it.
        its = standing(device)
        if key.count(":") == 5 and len(key) == 17:
            macs[key] = its
        elif rulesets.device_at(key) == device:
            networks.append((ip_network(key), its))
    return Census(tuple(sorted(macs.items())), flatten(networks), others, min(boundaries, default=None))


def _unnamed(rulesets: Rulesets, also: Iterable[DeviceId]) -> Iterator[Device]:
    """Devices without a name for which something holds all the same: their id is their MAC or their address."""
    named = rulesets.policy.devices
    macs = {mac for device in named.values() for mac in device.macs}
    given = {*also, *(grant.device for grant in rulesets.grants), *(pause.device for pause in rulesets.pauses)}
    given |= {sitting.device for sitting in rulesets.sittings}
    for id in sorted(id for id in given if id is not None and id not in named and id not in macs):
        profile = rulesets.policy.network.unknown_devices
        if id.count(":") == 5 and len(id) == 17:
            yield Device(id, profile, macs=(id,), known=False)
            continue
        try:
            network = ip_network(id)
        except ValueError:
            continue  # a device that the policy no longer names
        if rulesets.device_at(str(network.network_address)) == Device(id, profile, known=False):
            yield Device(id, profile, networks=(network,), known=False)


def flatten(networks: Iterable[tuple[Network, Standing]]) -> tuple[tuple[Network, Standing], ...]:
    """The same standings without overlaps: the longer network decides, as it does everywhere else.

    >>> [str(network) for network, _ in flatten([(ip_network("10.0.0.0/30"), Standing.OPEN), (ip_network("10.0.0.1"), Standing.CLOSED)])]
    ['10.0.0.0/32', '10.0.0.1/32', '10.0.0.2/31']
    """
    flat: list[tuple[Network, Standing]] = []
    for network, standing in sorted(networks, key=lambda pair: pair[0].prefixlen):
        flat = [(piece, its) for known, its in flat for piece in _without(known, network)]
        flat.append((network, standing))
    return tuple(sorted(flat, key=lambda pair: (pair[0].version, int(pair[0].network_address))))


def _without(network: Network, taken: Network) -> Iterable[Network]:
    if isinstance(network, IPv4Network) and isinstance(taken, IPv4Network):
        return network.address_exclude(taken) if taken.subnet_of(network) else (network,)
    if isinstance(network, IPv6Network) and isinstance(taken, IPv6Network):
        return network.address_exclude(taken) if taken.subnet_of(network) else (network,)
    return (network,)
