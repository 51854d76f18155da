"""Evidence about a device: the grade of its recognition, the grade that each use requires, and the protections it uses. Pure.

Weak evidence may only restrict: any device can take a host name, and whoever learns a client id can use it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from hedgerow.policies.model import Device
from hedgerow.policies.text.addresses import IpAddress


class Grade(IntEnum):
    """Evidence of a device's identity, the weakest first."""

    HOST_NAME = 1  # what the device calls itself
    CLIENT_ID = 2  # a name in its settings of encrypted DNS
    ADDRESS = 3  # its IP address
    MAC_AND_ADDRESS = 4  # the kernel sends what is for the IP address to this MAC address, or into the tunnel of this device's key
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


def grade_at(device: Device, mac: str | None, address: IpAddress | None = None) -> Grade:
    """Return the grade of a device that was recognised by the IP address of a connection. `mac` is that address's MAC, None if unknown.

    An address inside the tunnel is proved by the device's key, and the gateway lets nobody else send from it.
    """
    if device.claims is not None:
        return Grade.HOST_NAME
    if mac is None and address is not None and device.tunnel is not None and any(address in each for each in device.tunnel.networks):
        return Grade.MAC_AND_ADDRESS
    is_by_mac = mac is not None and (mac in device.macs or not device.known)
    return Grade.MAC_AND_ADDRESS if is_by_mac else Grade.ADDRESS


class Protection(StrEnum):
    """A way in which a device's traffic reaches Hedgerow. Workers report it, and the pages show when each was last seen."""

    DNS = "dns"  # it asked our resolver
    PROXY = "proxy"  # it connected to the proxy's port by itself
    GATEWAY = "gateway"  # the gateway redirected its connection
    CERTIFICATE = "certificate"  # it sent a request under our certificate
    REFUSED_CERTIFICATE = "refused-certificate"  # it rejected our certificate
