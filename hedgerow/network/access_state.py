"""Access states: what the gateway does with each device's traffic, computed from the rulesets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.effective_users import is_held
from hedgerow.policies.host_facts import Services
from hedgerow.policies.identity import networks_of
from hedgerow.policies.model import Device, DeviceId, Request, RequestKind, Verdict
from hedgerow.policies.network import Flow
from hedgerow.policies.reading.flows import flow_table
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.text.addresses import IpNetwork, parse_mac, parse_network

_NO_DEVICE = DeviceId("")


class AccessState(StrEnum):
    """The gateway's treatment of a device's traffic."""

    OPEN = "open"  # forwards it: the device's rules do not block bypasses
    GUARDED = "guarded"  # redirects DNS and web traffic to Hedgerow, and refuses bypasses
    HELD = "held"  # the same for a device that nobody has named, and refuses all other traffic
    CLOSED = "closed"  # refuses it: a pause, a bedtime, a used-up budget


class _Access(NamedTuple):
    """The state of a device, and what of `openings` is open to it."""

    state: AccessState
    apps: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OpenApp:
    """One of `openings` and the guarded devices to which it is open, as in `DeviceStates`."""

    id: str
    macs: tuple[str, ...] = ()
    networks: tuple[IpNetwork, ...] = ()
    others: bool = False


@dataclass(frozen=True, slots=True)
class DeviceStates:
    """The state of every device until the instant `until` (seconds since the epoch; None: for good).

    `networks` do not overlap. `others` is the state of devices that the policy does not name. `apps` are the
    `openings` of guarded devices.
    """

    macs: tuple[tuple[str, AccessState], ...] = ()
    networks: tuple[tuple[IpNetwork, AccessState], ...] = ()
    others: AccessState = AccessState.GUARDED
    until: float | None = None
    apps: tuple[OpenApp, ...] = ()

    def macs_in(self, access: AccessState) -> tuple[str, ...]:
        return tuple(mac for mac, state in self.macs if state is access)

    def networks_in(self, access: AccessState, version: int) -> tuple[IpNetwork, ...]:
        return tuple(network for network, state in self.networks if state is access and network.version == version)

    def is_same(self, other: DeviceStates | None) -> bool:
        """Return True if the gateway's sets would be the same, whatever `until` is."""
        return other is not None and (self.macs, self.networks, self.others, self.apps) == (
            other.macs,
            other.networks,
            other.others,
            other.apps,
        )


def compute_device_states(
    rulesets: Rulesets, catalogue: Catalogue, now: float, also: Iterable[DeviceId] = ()
) -> DeviceStates:
    """Return the state of every device that the policy, a grant, a pause, a session or `also` names, and of
    all others.
    """
    policy = rulesets.policy
    boundaries: list[float] = []

    def state_of(device: Device) -> _Access:
        ruleset = rulesets.ruleset(device, now)
        if ruleset.until is not None:
            boundaries.append(ruleset.until)
        if ruleset.closed is not None:
            return _Access(AccessState.CLOSED)
        if not ruleset.rules.bypass:
            return _Access(AccessState.OPEN)
        if is_held(policy, device):
            return _Access(AccessState.HELD)
        if ruleset.id not in open_apps:
            open_apps[ruleset.id] = frozenset(
                id
                for id, services in openings().items()
                if any(_is_open(each, ruleset, catalogue) for each in services)
            )
        return _Access(AccessState.GUARDED, open_apps[ruleset.id])

    open_apps: dict[int, frozenset[str]] = {}
    macs: dict[str, _Access] = {}
    networks: list[tuple[IpNetwork, _Access]] = []
    for device in (*policy.devices.values(), *_unnamed_devices(rulesets, also)):
        state = state_of(device)
        macs.update((mac, state) for mac in device.macs)
        networks += ((network, state) for network in networks_of(device))
    others = state_of(Device(_NO_DEVICE, policy.network.unknown_devices, known=False))
    for key, device in rulesets.devices.named():
        # Any device can take a host name, so its ruleset is no wider than that of the device without the name.
        state = state_of(device)
        if parse_mac(key) == key:
            macs[key] = state
        elif rulesets.devices.find(key) == device:
            networks.append((ip_network(key), state))
    named, flat = sorted(macs.items()), without_overlaps(networks)
    return DeviceStates(
        tuple((mac, access.state) for mac, access in named),
        tuple((network, access.state) for network, access in flat),
        others.state,
        min(boundaries, default=None),
        tuple(
            OpenApp(
                id,
                tuple(mac for mac, access in named if id in access.apps),
                tuple(network for network, access in flat if id in access.apps),
                id in others.apps,
            )
            for id in openings()
        ),
    )


@cache
def openings() -> dict[str, tuple[str, ...]]:
    """Return what is open to a device while one of its services is, by id: the networks of services, and flows."""
    flows = (flow for flows in flow_table().values() for flow in flows if flow.services)
    return {id: (id,) for id in app_networks()} | {flow_id(flow): flow.services for flow in flows}


def flow_id(flow: Flow) -> str:
    """Return the id of a flow's services among the openings, the same for equal ones.

    >>> flow_id(Flow("udp", ((3074, 3074),), services=("xbox",)))
    'flows-xbox-1'
    """
    return f"flows-{flow.services[0]}-{len(flow.services)}"


@cache
def app_networks() -> dict[str, tuple[IpNetwork, ...]]:
    """Return the operators' networks by the ids of the services whose apps use addresses without names."""
    return {service.id: service.networks for service in Services.load().by_id.values() if service.networks}


def _is_open(id: str, ruleset: Ruleset, catalogue: Catalogue) -> bool:
    """Return whether a service is open, by its first domain, which the whole service is named after."""
    host = Services.load().by_id[id].domains[0]
    return decide(ruleset, catalogue, Request(_NO_DEVICE, RequestKind.DNS, host)).verdict is not Verdict.BLOCK


def addresses_to_cut(device_states: DeviceStates, neighbours: Mapping[str, str]) -> frozenset[str]:
    """Return the addresses of closed devices, by a neighbour table, which maps IP to MAC addresses.

    A MAC address decides before an IP address, as for packets that devices send.
    """
    states = dict(device_states.macs)
    by_mac = {address for address, mac in neighbours.items() if states.get(mac) is AccessState.CLOSED}
    by_ip = {
        str(network.network_address)
        for network, state in device_states.networks
        if state is AccessState.CLOSED and network.prefixlen == network.max_prefixlen
    }
    return frozenset(by_mac | {address for address in by_ip if neighbours.get(address, "") not in states})


def addresses_not_open(device_states: DeviceStates, neighbours: Mapping[str, str]) -> frozenset[str]:
    """Return the addresses of all devices but open ones, by a neighbour table.

    A MAC address decides before an IP address.
    """
    states = dict(device_states.macs)
    open_networks = [network for network, state in device_states.networks if state is AccessState.OPEN]

    def is_open(address: str, mac: str) -> bool:
        if mac in states:
            return states[mac] is AccessState.OPEN
        return device_states.others is AccessState.OPEN or any(
            ip_address(address) in network for network in open_networks
        )

    return frozenset(address for address, mac in neighbours.items() if not is_open(address, mac))


def _unnamed_devices(rulesets: Rulesets, also: Iterable[DeviceId]) -> Iterator[Device]:
    """Yield the devices that the policy does not name but a grant, a pause, a session or `also` does, by MAC or IP
    address.
    """
    named, profile = rulesets.policy.devices, rulesets.policy.network.unknown_devices
    macs = {mac for device in named.values() for mac in device.macs}
    ids = {*also, *(grant.device for grant in rulesets.grants), *(pause.device for pause in rulesets.pauses)}
    ids |= {pause.spared_device for pause in rulesets.pauses}
    ids |= {session.device for session in rulesets.sessions}
    for id in sorted(id for id in ids if id is not None and id not in named and id not in macs):
        if parse_mac(id) == id:
            yield Device(id, profile, macs=(id,), known=False)
            continue
        network = parse_network(id)  # None for a device that the policy no longer names
        if network and rulesets.devices.find(str(network.network_address)) == Device(id, profile, known=False):
            yield Device(id, profile, networks=(network,), known=False)


def without_overlaps[T](networks: Iterable[tuple[IpNetwork, T]]) -> tuple[tuple[IpNetwork, T], ...]:
    """Return the same states, or whatever belongs to the networks, without overlaps.

    The longer prefix decides, as it does everywhere else.

    >>> [str(network) for network, _ in without_overlaps([(ip_network("10.0.0.0/30"), AccessState.OPEN),
    ... (ip_network("10.0.0.1"), AccessState.CLOSED)])]
    ['10.0.0.0/32', '10.0.0.1/32', '10.0.0.2/31']
    """
    flat: list[tuple[IpNetwork, T]] = []
    for network, access in sorted(networks, key=lambda pair: pair[0].prefixlen):
        flat = [(piece, state) for known, state in flat for piece in without_part(known, network)]
        flat.append((network, access))
    return tuple(sorted(flat, key=lambda pair: (pair[0].version, int(pair[0].network_address))))


def without_part(network: IpNetwork, part: IpNetwork) -> Iterable[IpNetwork]:
    """Return what is left of a network without a part of it; the network if the other is not a part."""
    if isinstance(network, IPv4Network) and isinstance(part, IPv4Network):
        return network.address_exclude(part) if part.subnet_of(network) else (network,)
    if isinstance(network, IPv6Network) and isinstance(part, IPv6Network):
        return network.address_exclude(part) if part.subnet_of(network) else (network,)
    return (network,)
