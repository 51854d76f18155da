"""Which device of the policy is it? By MAC first, then by address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from hedgerow.policies.model import Device, DeviceId, Policy

MAX_REMEMBERED = 65_536
"""Addresses of one IPv6 network are without number: what is remembered of them is dropped beyond this many."""


class Recogniser:
    """Finds devices, and remembers what it found."""

    def __init__(self, policy: Policy) -> None:
        devices = policy.devices.values()
        self._network = policy.network
        self._macs = {mac: device for device in devices for mac in device.macs}
        self._clients = {device.client_id: device for device in devices if device.client_id is not None}
        self._addresses, self._networks = _by_length(policy)
        self.known: dict[str | tuple[str, str], Device | None] = {}

    def find(self, address: str, mac: str | None) -> Device | None:
        """The device, named by the policy or not; None for one that is outside of `network.lan` and not known by its MAC."""
        key = address if mac is None else (address, mac)
        try:
            return self.known[key]
        except KeyError:
            if len(self.known) >= MAX_REMEMBERED:
                self.known.clear()
            device = self.known[key] = self._find(address, mac.lower() if mac else None)
            return device

    def find_client(self, client_id: str) -> Device | None:
        """The device that calls itself so over encrypted DNS, wherever it is."""
        return self._clients.get(client_id)

    def _find(self, address: str, mac: str | None) -> Device | None:
        if mac in self._macs:
            return self._macs[mac]
        parsed = parse_client_address(address)
        if parsed is None:
            return None
        single = self._addresses.get(parsed)
        if single is not None:
            return single
        for network, device in self._networks:
            if parsed in network:
                return device
        if not any(parsed in network for network in self._network.lan):
            return None
        return Device(DeviceId(mac or str(parsed)), self._network.unknown_devices, known=False)


def parse_client_address(text: str) -> IPv4Address | IPv6Address | None:
    """A client's address as sockets give it: without the zone of a link-local one, and IPv4 behind ::ffff: as IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


type _Networks = list[tuple[IPv4Network | IPv6Network, Device]]


def _by_length(policy: Policy) -> tuple[dict[IPv4Address | IPv6Address, Device], _Networks]:
    """Single addresses, and networks with the longest first."""
    pairs = [(network, device) for device in policy.devices.values() for network in device.networks]
    single = {network.network_address: device for network, device in pairs if network.num_addresses == 1}
    wider = [pair for pair in pairs if pair[0].num_addresses > 1]
    return single, sorted(wider, key=lambda pair: pair[0].prefixlen, reverse=True)
