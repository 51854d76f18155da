"""Protection of the local network: no public name may have one of its addresses (DNS rebinding), and its names stay in
it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from hedgerow.blocklists.address_ranges import is_private, unwrap_ipv4
from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.text.addresses import IpNetwork

_UNSPECIFIED: Final = (bytes(4), bytes(16))
_REBINDING: Final = Decision(Verdict.BLOCK, Reason.RULE, PRIVATE_ADDRESS)
_BLOCKED_UPSTREAM: Final = Decision(Verdict.BLOCK, Reason.RULE, UPSTREAM_BLOCKS)


class AddressGuard:
    """The check of addresses in upstream answers.

    `lan` adds public networks that are ours; any name may have addresses in `reachable`.
    """

    def __init__(self, lan: Iterable[IpNetwork] = (), reachable: Iterable[IpNetwork] = ()) -> None:
        self._lan = tuple(network for network in lan if not network.is_private)
        self._reachable = tuple(reachable)

    def blocking_decision(self, addresses: tuple[bytes, ...]) -> Decision | None:
        """Return the decision that blocks an answer with these packed addresses, or None."""
        for packed in addresses:
            if packed in _UNSPECIFIED:
                return _BLOCKED_UPSTREAM  # many systems connect to themselves there
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
_REVERSE6: Final = (
    "0." * 32,
    "1." + "0." * 31,
    "c.f.",
    "d.f.",
    "8.e.f.",
    "9.e.f.",
    "a.e.f.",
    "b.e.f.",
    "8.b.d.0.1.0.0.2.",
)
PRIVATE_ZONES: Final = frozenset(
    (*_FORWARD_ZONES, *(f"{zone}.in-addr.arpa" for zone in _REVERSE4), *(f"{zone}ip6.arpa" for zone in _REVERSE6))
)
_TOP_LABELS: Final = frozenset(zone.rpartition(".")[2] for zone in PRIVATE_ZONES)


def private_zone(host: str) -> str | None:
    """Return the private zone that a name is in, or None (RFC 6303, RFC 6761, RFC 6762, RFC 8375, RFC 9476).

    >>> private_zone("5.1.168.192.in-addr.arpa"), private_zone("nas.home.arpa"), private_zone("8.8.8.8.in-addr.arpa")
    ('168.192.in-addr.arpa', 'home.arpa', None)
    """
    if host.rpartition(".")[2] not in _TOP_LABELS:
        return None
    while host and host not in PRIVATE_ZONES:
        host = host.partition(".")[2]
    return host or None
