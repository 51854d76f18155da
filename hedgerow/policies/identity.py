"""Recognition of the policy's devices: by MAC address first, then by IP address, and last by the host name that a
device claims.

Anybody can give a device any host name, so a host name only restricts. It counts for a device of the policy that has
neither MAC nor IP address and that is blocked from all that unknown devices are blocked from. The claimant then gets
both sets of rules: that device's, and those for unknown devices (`Device.claims`).

Weak evidence may only restrict: each use of an identity needs a grade of evidence. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network

from hedgerow.policies.effective_users import EffectiveUsers, blocked_to, has_seats
from hedgerow.policies.model import Device, DeviceId, Policy
from hedgerow.policies.text.addresses import IpAddress, IpNetwork, parse_client_address

TETHERED: tuple[IPv4Address, IPv6Address] = (IPv4Address("192.0.0.8"), IPv6Address("100::1"))
"""Addresses that the gateway gives to clients behind an adult's device that forwards for others.

No network has them: they are the dummy address of RFC 7600 and one of the discard prefix of RFC 6666. Such clients are
a device without a name.
"""

MAX_CACHED_DEVICES = 65_536
"""An IPv6 network has countless addresses, so caches by device are cleared at this size."""


class DeviceLookup:
    """Cached look-up of devices.

    `names` maps MAC and IP addresses to host names, `leases` IP addresses to MAC addresses.
    """

    def __init__(
        self, policy: Policy, names: Mapping[str, str] | None = None, leases: Mapping[str, str] | None = None
    ) -> None:
        devices = policy.devices.values()
        self._network, self._leases = policy.network, dict(leases or {})
        self._macs = {mac: device for device in devices for mac in device.macs}
        self._clients = {device.client_id: device for device in devices if device.client_id is not None}
        self._users = {user: device for device in devices for user in device.proxy_users}
        users = EffectiveUsers(policy)
        self._hosts = {
            name: device for device in devices if honours_host_name(users, device) for name in device.hostnames
        }
        self._names = {key: name for key, name in (names or {}).items() if name in self._hosts}
        self._addresses, self._networks = _addresses_and_networks(policy)
        self.known: dict[str | tuple[str, str], Device | None] = {}

    def find(self, address: str, mac: str | None = None) -> Device | None:
        """Return the device at an address, named by the policy or not; None outside `network.lan` unless the policy
        names its MAC.

        A MAC outranks addresses, and a longer network a shorter one. Without `mac`, that of the address's lease counts.
        """
        key = address if mac is None else (address, mac)
        try:
            return self.known[key]
        except KeyError:
            if len(self.known) >= MAX_CACHED_DEVICES:
                self.known.clear()
            device = self.known[key] = self._find(address, mac.lower() if mac else None)
            return device

    def find_client(self, client_id: str) -> Device | None:
        """Return the device with this id of encrypted DNS (lower case), from wherever it asks; None if
        there is none.
        """
        return self._clients.get(client_id)

    def find_mac(self, mac: str) -> Device:
        """Return the device with this MAC address (lower case), named by the policy or not, whatever its IP
        address is.
        """
        return self._macs.get(mac) or self._unknown(mac, self._names.get(mac, ""))

    def named(self) -> tuple[tuple[str, Device], ...]:
        """Return the MAC and IP addresses whose host name counts, with the claiming device.

        The address may be a known device's.
        """
        return tuple((key, self._unknown(key, name)) for key, name in self._names.items() if key not in self._macs)

    def find_user(self, user: str) -> Device | None:
        """Return the device that signs in to the proxy as `user`, in any case; None if there is none."""
        return self._users.get(user.lower())

    def _find(self, address: str, mac: str | None) -> Device | None:
        if mac in self._macs:
            return self._macs[mac]
        parsed = parse_client_address(address)
        if parsed is None:
            return None
        if parsed in TETHERED:
            return self._unknown(_link_of(parsed), "")
        leased = self._leases.get(str(parsed)) if mac is None else None
        if leased is not None:
            return self._find(address, leased)
        single = self._addresses.get(parsed)
        if single is not None:
            return single
        for network, device in self._networks:
            if parsed in network:
                return device
        if not any(parsed in network for network in self._network.lan):
            return None
        return self._unknown(mac or _link_of(parsed), self._names.get(mac or "") or self._names.get(str(parsed), ""))

    def _unknown(self, id: str, name: str) -> Device:
        """Return the device with this MAC or IP address, which claims the host name `name`."""
        claimed = self._hosts.get(name)
        if claimed is None:
            return Device(DeviceId(id), self._network.unknown_devices, known=False)
        return as_claimed(claimed, DeviceId(id))


def _link_of(address: IpAddress) -> str:
    """Return what a stranger without a MAC address is known by: an IPv4 address, or the IPv6 network of its link.

    A device takes any number of IPv6 addresses, and each would be a stranger with limits of its own.

    >>> from ipaddress import ip_address
    >>> _link_of(ip_address("192.168.1.9")), _link_of(ip_address("fd00::9")), _link_of(ip_address("::1"))
    ('192.168.1.9', 'fd00::/64', '::1')
    """
    if address == TETHERED[0]:
        return _link_of(TETHERED[1])
    if address.version == 4 or address.is_loopback:
        return str(address)
    return str(ip_network((int(address) >> 64 << 64, 64)))


def is_link(id: str) -> bool:
    """Return whether an id is that of an IPv6 link, on which no MAC address is known yet."""
    return id.endswith("::/64")


def honours_host_name(users: EffectiveUsers, device: Device) -> bool:
    """Return whether a host name makes other devices subject to this one's rules.

    It does not if the policy knows the device by MAC or address, or allows it more than unknown devices.
    """
    if not device.hostnames or device.macs or device.networks:
        return False
    return users.blocked_to_strangers <= blocked_to(users.of(device, None))


def as_claimed(device: Device, id: DeviceId) -> Device:
    """Return the device `id`, which claims to be `device`."""
    return replace(device, id=id, known=False, claims=device.id)


def _addresses_and_networks(policy: Policy) -> tuple[dict[IpAddress, Device], list[tuple[IpNetwork, Device]]]:
    """Return devices by single address, and by network with the longest prefix first."""
    pairs = [(network, device) for device in policy.devices.values() for network in networks_of(device)]
    single = {network.network_address: device for network, device in pairs if network.num_addresses == 1}
    wider = [pair for pair in pairs if pair[0].num_addresses > 1]
    return single, sorted(wider, key=lambda pair: pair[0].prefixlen, reverse=True)


def networks_of(device: Device) -> tuple[IpNetwork, ...]:
    """Return a device's addresses at home and inside the tunnel."""
    return device.networks if device.tunnel is None else (*device.networks, *device.tunnel.networks)


def renamed_devices(before: Policy, after: Policy) -> dict[DeviceId, DeviceId]:
    """Return the devices that a new policy calls by another name, or names for the first time, by their ids under the
    policy before.
    """
    ids = {key: device.id for device in before.devices.values() for key in _own_keys(device)}
    known = ((device, ids.get(key, DeviceId(key))) for device in after.devices.values() for key in _own_keys(device))
    return {old: device.id for device, old in known if old not in after.devices and device.id not in before.devices}


def _own_keys(device: Device) -> tuple[str, ...]:
    """Return the MAC and IP addresses of a device, by which it is known before it has a name; none of a seat, which
    guests share.
    """
    if device.is_seat:
        return ()
    return (*device.macs, *(str(network.network_address) for network in device.networks if network.num_addresses == 1))


class Grade(IntEnum):
    """Evidence of a device's identity, the weakest first."""

    HOST_NAME = 1  # what the device calls itself
    CLIENT_ID = 2  # a name in its settings of encrypted DNS
    ADDRESS = 3  # its IP address
    # the kernel sends what is for the IP address to this MAC address, or into the tunnel of this device's key
    MAC_AND_ADDRESS = 4
    PROXY_SIGN_IN = 5  # a name and a password


class Use(StrEnum):
    """Uses of a device's identity beyond its rules."""

    JOURNAL = "journal"  # decisions are stored under the device's own id
    BUDGET = "budget"  # minutes count for its person
    KEPT = "kept"  # its page gives out what is stored about its person
    SIGN_IN = "sign-in"  # it may try the password of somebody in charge


MINIMUM: dict[Use, Grade] = {
    Use.JOURNAL: Grade.HOST_NAME,
    Use.BUDGET: Grade.CLIENT_ID,
    Use.KEPT: Grade.ADDRESS,
    Use.SIGN_IN: Grade.ADDRESS,
}
"""The weakest grade that is enough for each use."""


def is_enough(grade: Grade, use: Use) -> bool:
    return grade >= MINIMUM[use]


def is_a_childs(policy: Policy, device: Device) -> bool:
    """Return whether the policy says that a child uses a device, or one claims by its host name to be the device."""
    owners = (device.person,) if device.person is not None else device.sharers
    profiles = {policy.people[each].profile for each in owners} | ({device.profile} if device.has_profile else set())
    return device.claims is not None or any(policy.profiles[each].is_for_children for each in profiles)


def may_resume_setup(policy: Policy, device: Device, address: str) -> bool:
    """Return whether a password opens the pages at an address, because no device of an adult is defined yet.

    The device is in the home network, and no child's. A café's guests bring devices that nobody defines.
    """
    if is_a_childs(policy, device) or has_seats(policy):
        return False
    named = (each for each in policy.devices.values() if networks_of(each) or each.macs)
    if any(each.profile != "guest" and not policy.profiles[each.profile].is_for_children for each in named):
        return False
    network, parsed = policy.network, parse_client_address(address)
    return parsed is not None and network.is_at_home(parsed) and any(parsed in each for each in network.home_networks)


def grade_at(device: Device, mac: str | None, address: IpAddress | None = None) -> Grade:
    """Return the grade of a device that was recognised by the IP address of a connection.

    `mac` is that address's MAC, None if unknown.

    An address inside the tunnel is proved by the device's key, and the gateway lets nobody else send from it.
    """
    if device.claims is not None:
        return Grade.HOST_NAME
    if (
        mac is None
        and address is not None
        and device.tunnel is not None
        and any(address in each for each in device.tunnel.networks)
    ):
        return Grade.MAC_AND_ADDRESS
    is_by_mac = mac is not None and (mac in device.macs or not device.known)
    return Grade.MAC_AND_ADDRESS if is_by_mac else Grade.ADDRESS


class Protection(StrEnum):
    """A way in which a device's traffic reaches Hedgerow.

    Workers report it, and the pages show when each was last seen.
    """

    DNS = "dns"  # it asked our resolver
    PROXY = "proxy"  # it connected to the proxy's port by itself
    GATEWAY = "gateway"  # the gateway redirected its connection
    CERTIFICATE = "certificate"  # it sent a request under our certificate
    REFUSED_CERTIFICATE = "refused-certificate"  # it rejected our certificate
