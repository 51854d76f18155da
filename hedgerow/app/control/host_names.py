"""What devices call themselves: by the leases of DHCP servers here, else by the reverse name that the system's resolver gives, else by what
they answer to multicast DNS.

Names are claims, so all that is done with them is to look them up in the policy (`policies.recognise`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from hedgerow.network.leases import Lease
from hedgerow.network.mdns import ask_name

ASK_AGAIN_S = 300.0
LONGEST_LABEL = 63  # RFC 1035 §2.3.4
AT_ONCE = 8
MOST_ASKED = 64
"""Reverse names asked for in one look; each may wait for the system's resolver."""


def reverse_name(address: str) -> str:
    """The name of an address by hosts file and DNS (PTR), else by the device itself; empty where there is none. Waits for the resolver."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return ask_name(address)


def first_label(name: str) -> str:
    """What a policy writes of a host name; empty where a device calls itself what nobody could read, such as lines of a log.

    >>> first_label("Mias-Tablet.lan"), first_label("tv\\n2026-11-25 control: all is well")
    ('mias-tablet', '')
    """
    label = name.partition(".")[0].lower()
    return label if label.isprintable() and len(label) <= LONGEST_LABEL else ""


class HostNames:
    """Remembers reverse names for some minutes. `reverse` may block; it is called in a thread."""

    def __init__(self, reverse: Callable[[str], str] = reverse_name, clock: Callable[[], float] = time.monotonic) -> None:
        self._reverse, self._clock = reverse, clock
        self._asked: dict[str, tuple[float, str]] = {}

    async def find(self, leases: Iterable[Lease], neighbours: Mapping[str, str], now: float) -> dict[str, str]:
        """MAC address, and IP address where no MAC is known, → first label of the name. `neighbours` is IP address → MAC address."""
        names = {lease.mac: first_label(lease.name) for lease in leases if lease.name and (lease.until is None or lease.until > now)}
        unnamed = [(address, mac) for address, mac in sorted(neighbours.items()) if mac not in names and not address.startswith("fe80:")]
        limit = self._clock() - ASK_AGAIN_S
        due = [address for address, _ in unnamed if self._asked.get(address, (limit, ""))[0] <= limit][:MOST_ASKED]
        found = await asyncio.to_thread(self._ask, due)
        self._asked |= {address: (self._clock(), first_label(name)) for address, name in found}
        self._asked = {address: self._asked[address] for address, _ in unnamed if address in self._asked}
        return names | {mac: name for address, mac in unnamed if (name := self._asked.get(address, (0.0, ""))[1])}

    def _ask(self, addresses: list[str]) -> list[tuple[str, str]]:
        """A few at once: where the system's resolver is silent, each waits for ten seconds before the device itself is asked."""
        if not addresses:
            return []
        with ThreadPoolExecutor(AT_ONCE, "host-names") as pool:
            return list(zip(addresses, pool.map(self._reverse, addresses), strict=True))
