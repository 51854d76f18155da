"""Addresses that an answer must not hold: those of this network under public names (DNS rebinding), and blocked ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS
from hedgerow.policies.model import Decision, Reason, Verdict

type Networks = Iterable[IPv4Network | IPv6Network]

_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 as IPv6
_NAT64: Final = b"\0\x64\xff\x9b" + bytes(8)  # 64:ff9b::/96 (RFC 6052)
_NAT64_LOCAL: Final = b"\0\x64\xff\x9b\0\1"  # 64:ff9b:1::/48 (RFC 8215), of which each network that uses it takes a /96
_UNSPECIFIED: Final = (bytes(4), bytes(16))
# Not on the public internet (RFC 6890): no public name has an address in these, unless somebody wants to be taken for a neighbour.
_PRIVATE4: Final = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE6: Final = ("::/127", "fc00::/8", "fd00::/8", "fe80::/9")


def _ranges(networks: Iterable[str]) -> dict[int, tuple[bytes, bytes]]:
    """First and last address of each network, by their first octet, of which no two have the same: packed addresses compare as numbers."""
    parsed = map(ip_network, networks)
    return {network[0].packed[0]: (network[0].packed, network[-1].packed) for network in parsed}


_RANGES: Final = {4: _ranges(_PRIVATE4), 16: _ranges(_PRIVATE6)}

_REBINDING: Final = Decision(Verdict.BLOCK, Reason.RULE, PRIVATE_ADDRESS)
_BLOCKED_UPSTREAM: Final = Decision(Verdict.BLOCK, Reason.RULE, UPSTREAM_BLOCKS)


def is_private(packed: bytes) -> bool:
    """Is this address one that only a network of its own has?

    >>> is_private(bytes((192, 168, 1, 1))), is_private(bytes((9, 9, 9, 9)))
    (True, False)
    """
    packed = unwrap_ipv4(packed)
    span = _RANGES[len(packed)].get(packed[0])
    return span is not None and span[0] <= packed <= span[1]


def unwrap_ipv4(packed: bytes) -> bytes:
    """The IPv4 address that an IPv6 address merely writes in another way, else the address itself."""
    if len(packed) == 4:
        return packed
    is_local = packed.startswith(_NAT64_LOCAL) and packed[8:12] == bytes(4)
    return packed[12:] if is_local or packed.startswith((_MAPPED, _NAT64)) else packed


class AddressGuard:
    """Judges the addresses of answers that came from a public resolver. `lan` may add public networks that are ours, `reachable` are
    those that any name may have."""

    def __init__(self, lan: Networks = (), reachable: Networks = ()) -> None:
        self._lan = tuple(network for network in lan if not network.is_private)
        self._reachable = tuple(reachable)

    def blocking_decision(self, addresses: tuple[bytes, ...]) -> Decision | None:
        """Why an answer with these addresses, packed, must not be given to a client; None if nothing speaks against it."""
        for packed in addresses:
            if packed in _UNSPECIFIED:
                return _BLOCKED_UPSTREAM  # on many systems it leads to the asker's own machine
            if (is_private(packed) or self._is_ours(packed)) and not self._is_reachable(packed):
                return _REBINDING
        return None

    def _is_ours(self, packed: bytes) -> bool:
        return bool(self._lan) and any(ip_address(unwrap_ipv4(packed)) in network for network in self._lan)

    def _is_reachable(self, packed: bytes) -> bool:
        address = ip_address(unwrap_ipv4(packed))
        return any(address in network for network in self._reachable)


_FORWARD_ZONES: Final = ("home.arpa", "internal", "local", "test", "alt")
_REVERSE4: Final = (
    *("0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255"),
    *(f"{number}.172" for number in range(16, 32)),
    *(f"{number}.100" for number in range(64, 128)),
)
_REVERSE6: Final = ("0." * 32, "1." + "0." * 31, "c.f.", "d.f.", "8.e.f.", "9.e.f.", "a.e.f.", "b.e.f.", "8.b.d.0.1.0.0.2.")
PRIVATE_ZONES: Final = frozenset(
    (*_FORWARD_ZONES, *(f"{zone}.in-addr.arpa" for zone in _REVERSE4), *(f"{zone}ip6.arpa" for zone in _REVERSE6))
)
_TOP_LABELS: Final = frozenset(zone.rpartition(".")[2] for zone in PRIVATE_ZONES)


def private_zone(host: str) -> str | None:
    """The private zone that a name is in.

    >>> private_zone("5.1.168.192.in-addr.arpa"), private_zone("nas.home.arpa"), private_zone("8.8.8.8.in-addr.arpa")
    ('168.192.in-addr.arpa', 'home.arpa', None)
    """
    if host.rpartition(".")[2] not in _TOP_LABELS:
        return None
    while host and host not in PRIVATE_ZONES:
        host = host.partition(".")[2]
    return host or None
