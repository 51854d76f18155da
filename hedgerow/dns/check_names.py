"""Names by which a device finds out whether it asks us: `ANYTHING.192-168-1-2.check.hedgerow.internal` leads to 192.168.1.2.

Nobody else answers them: `internal` is for private use (ICANN, 2024). Only addresses of this very machine are told, so that the
names lead nowhere that the device did not know already.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from typing import Final

ZONE: Final = "check.hedgerow.internal"


def checked_address(host: str) -> IPv4Address | None:
    """
    >>> checked_address("7f3a.192-168-1-2.check.hedgerow.internal"), checked_address("check.hedgerow.internal")
    (IPv4Address('192.168.1.2'), None)
    """
    written = host.removesuffix(f".{ZONE}").rpartition(".")[2]
    try:
        return IPv4Address(written.replace("-", "."))
    except ValueError:
        return None


def is_here(address: IPv4Address) -> bool:
    """Whether this machine has the address: only then may a socket be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return not (address.is_unspecified or address.is_multicast)
