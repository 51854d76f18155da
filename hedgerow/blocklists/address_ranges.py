"""Address ranges with a special purpose, by the IANA registries that RFC 6890 set up. Pure.

The one place that says which addresses belong to a local network and which to the internet. Addresses are packed octets
(`ip_address(text).packed`), as DNS answers hold them: packed addresses of one family compare like numbers.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 as IPv6 (RFC 4291)
_NAT64: Final = b"\0\x64\xff\x9b" + bytes(8)  # 64:ff9b::/96 (RFC 6052)
_NAT64_LOCAL: Final = b"\0\x64\xff\x9b\0\1"  # 64:ff9b:1::/48 (RFC 8215), of which each network that uses it takes a /96
_SIX_TO_FOUR: Final = b"\x20\x02"  # 2002::/16 (RFC 3056)
_TEREDO: Final = b"\x20\x01\0\0"  # 2001::/32 (RFC 4380)

type _Ranges = dict[int, tuple[tuple[bytes, bytes], ...]]


def _ranges(networks: Iterable[str]) -> _Ranges:
    """First and last address of each network, by every first octet that its addresses can have."""
    found: defaultdict[int, tuple[tuple[bytes, bytes], ...]] = defaultdict(tuple)
    for network in map(ip_network, networks):
        first, last = network[0].packed, network[-1].packed
        for octet in range(first[0], last[0] + 1):
            found[octet] += ((first, last),)
    return dict(found)


def _is_within(packed: bytes, ranges: _Ranges) -> bool:
    return any(first <= packed <= last for first, last in ranges.get(packed[0], ()))


_PRIVATE: Final = {
    4: _ranges(
        (
            *(
                "0.0.0.0/8",
                "10.0.0.0/8",
                "100.64.0.0/10",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.0.0.0/29",
            ),
            *("192.168.0.0/16", "198.18.0.0/15"),
        )
    ),
    16: _ranges(("::/127", "fc00::/7", "fe80::/10", "fec0::/10")),
}
"""Ranges that only local networks use, including the host itself, shared address space (RFC 6598), DS-Lite (RFC 6333),
test beds (RFC 2544) and the former site-local addresses (RFC 3879).
"""

_NOT_PUBLIC: Final = {
    4: _ranges(
        (
            *(
                "0.0.0.0/8",
                "10.0.0.0/8",
                "100.64.0.0/10",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.0.0.0/24",
            ),
            *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        )
    ),
    # Only 2000::/3 has been allocated for global unicast. 6to4 is judged by the IPv4 address that it embeds.
    16: _ranges(("::/3", "2001::/23", "2001:db8::/32", "3fff::/20", "4000::/2", "8000::/1")),
}


def unwrap_ipv4(packed: bytes) -> bytes:
    """Return the IPv4 address that an IPv6 address merely writes in another way (IPv4-mapped, NAT64), else the address
    itself.
    """
    if len(packed) == 4:
        return packed
    is_local = packed.startswith(_NAT64_LOCAL) and packed[8:12] == bytes(4)
    return packed[12:] if is_local or packed.startswith((_MAPPED, _NAT64)) else packed


def embedded_ipv4(packed: bytes) -> tuple[bytes, ...]:
    """Return the IPv4 addresses inside an IPv6 address:

    IPv4-mapped, NAT64, 6to4, or Teredo (the server's, then the client's).

    >>> from ipaddress import ip_address
    >>> [str(ip_address(each)) for each in embedded_ipv4(ip_address("2001:0:4136:e378:8000:63bf:3fff:fdd2").packed)]
    ['65.54.227.120', '192.0.2.45']
    """
    if len(packed) == 4:
        return ()
    if packed.startswith(_SIX_TO_FOUR):
        return (packed[2:6],)
    if packed.startswith(_TEREDO):
        return packed[4:8], bytes(octet ^ 0xFF for octet in packed[12:])
    inner = unwrap_ipv4(packed)
    return (inner,) if inner is not packed else ()


def is_private(packed: bytes) -> bool:
    """Return whether an address, or an IPv4 address inside it, is one that only local networks use.

    >>> is_private(bytes((192, 168, 1, 1))), is_private(bytes((9, 9, 9, 9)))
    (True, False)
    """
    if len(packed) == 4:
        return _is_within(packed, _PRIVATE[4])
    inner = embedded_ipv4(packed)
    return any(_is_within(each, _PRIVATE[4]) for each in inner) if inner else _is_within(packed, _PRIVATE[16])


def is_public(packed: bytes) -> bool:
    """Return whether an address is globally reachable unicast, as are all IPv4 addresses inside it.

    Stricter than `not is_private`: documentation, multicast and reserved ranges are neither.
    """
    outer = unwrap_ipv4(packed) if not packed.startswith(_NAT64_LOCAL) else packed
    return not any(_is_within(each, _NOT_PUBLIC[len(each)]) for each in (outer, *embedded_ipv4(packed)))


@lru_cache(4096)
def is_public_address(text: str) -> bool:
    """Do the same as `is_public` for an address as text, with or without a zone.

    >>> is_public_address("93.184.215.14"), is_public_address("fe80::1%eth0")
    (True, False)
    """
    return is_public(ip_address(text.partition("%")[0]).packed)
