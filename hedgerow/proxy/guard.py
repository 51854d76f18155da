"""Which destinations a filtered device may reach through the proxy: the internet, and nothing of the house unless allowed.

Without this, the proxy would be a way round every firewall rule: it stands inside, and asks on behalf of anybody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

type Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True)
class Guard:
    """`reachable` are networks that are open although private, `ports` the destination ports served.

    `house` are the networks at home, which may have public addresses too (of IPv6 it mostly has). `own` gives this machine's addresses.
    """

    reachable: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})
    house: tuple[Network, ...] = ()
    own: Callable[[], frozenset[str]] = frozenset
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def allows(self, address: str) -> bool:
        """Whether an IP address, as text, may be dialled."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= 4096:
                self._known.clear()
            known = self._known[address] = self._judge(address)
        return known

    def allowed(self, addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple(address for address in addresses if self.allows(address))

    def _judge(self, address: str) -> bool:
        meant = _meant(ip_address(address))
        if any(each in network for each in meant[:1] for network in self.reachable):
            return True
        return all(_is_public(each) and not self._is_ours(each) for each in meant)

    def _is_ours(self, address: IPv4Address | IPv6Address) -> bool:
        return str(address) in self.own() or any(address in each for each in self.house)


def _meant(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """The address and every IPv4 address that is hidden in it, that first which it stands for."""
    if isinstance(address, IPv4Address):
        return (address,)
    hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        hidden.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = tuple(each for each in hidden if each is not None)
    return inner if address.ipv4_mapped or address in _NAT64 else (address, *inner)


@functools.cache
def _never() -> tuple[Network, ...]:
    """What `is_global` calls global although no web server lives there."""
    return tuple(ip_network(text) for text in ("224.0.0.0/4", "ff00::/8", "192.88.99.0/24", "fec0::/10", "::/96"))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not any(address in network for network in _never())
