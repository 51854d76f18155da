"""Zones that mean something in a network of its own only, and that nobody on the internet may be asked about. Pure.

What a home calls its devices, and which private addresses it uses, is nobody else's concern; and the root servers are asked for such
names all day. Sources: RFC 6303 and RFC 7793 (reverse zones of addresses that are not public), RFC 6761 (test), RFC 6762 (local), RFC 8375
(home.arpa), RFC 9476 (alt), ICANN's board resolution of 29 July 2024 (internal).
"""

from __future__ import annotations

from typing import Final

_NAMED: Final = ("home.arpa", "internal", "local", "test", "alt")
_REVERSE4: Final = (
    *("0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255"),
    *(f"{number}.172" for number in range(16, 32)),
    *(f"{number}.100" for number in range(64, 128)),
)
_REVERSE6: Final = ("0." * 32, "1." + "0." * 31, "c.f.", "d.f.", "8.e.f.", "9.e.f.", "a.e.f.", "b.e.f.", "8.b.d.0.1.0.0.2.")
ZONES: Final = frozenset((*_NAMED, *(f"{zone}.in-addr.arpa" for zone in _REVERSE4), *(f"{zone}ip6.arpa" for zone in _REVERSE6)))
_TOP: Final = frozenset(zone.rpartition(".")[2] for zone in ZONES)


def private_zone(host: str) -> str | None:
    """The private zone that a name is in.

    >>> private_zone("5.1.168.192.in-addr.arpa"), private_zone("nas.home.arpa"), private_zone("8.8.8.8.in-addr.arpa")
    ('168.192.in-addr.arpa', 'home.arpa', None)
    """
    if host.rpartition(".")[2] not in _TOP:
        return None
    while host and host not in ZONES:
        host = host.partition(".")[2]
    return host or None
