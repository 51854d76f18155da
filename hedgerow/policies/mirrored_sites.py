"""Names that show another site: caches and translators that write the site's name into their own, front ends by their
usual label, and names that are an address in disguise. Pure.

Lists can't keep up with these. A name is recognised by its form alone, so every form here is one that ordinary sites do
not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from hedgerow.blocklists.address_ranges import is_private
from hedgerow.blocklists.names import parse_host

_ENCODING_DOMAINS = frozenset({"cdn.ampproject.org", "translate.goog", "turbopages.org", "webpkgcache.com"})
"""Domains whose subdomains are names of other sites, written as in AMP's “AMP cache URL format” (amp.dev).

The last keeps pages that their sites have signed, which browsers show under the site's own name.
"""

FRONT_ENDS = {
    **dict.fromkeys(
        ("invidious", "piped", "pipedapi", "pipedproxy", "cloudtube", "poketube", "viewtube"), "youtube-front-ends"
    ),
    **dict.fromkeys(("redlib", "libreddit", "teddit"), "reddit-front-ends"),
    "nitter": "x-front-ends",
    **dict.fromkeys(("proxitok", "proxigram", "kittygram"), "social-viewers"),
    **dict.fromkeys(
        ("rimgo", "quetre", "safetwitch", "twineo", "priviblur", "binternet", "pixivfe", "skunkyart"),
        "other-front-ends",
    ),
}
"""Services by the first label of their instances, which is the program's name by custom of their lists of instances."""

SEARCH_FRONT_ENDS = frozenset({"searx", "searxng", "whoogle", "librex", "librey", "4get"})
"""First labels of search engines without a safe mode that a network could enforce."""

CUSTOMERS_DOMAINS = frozenset(
    {"plex.direct", "quickconnect.to", "ui.direct", "amazonaws.com", "amazonaws.com.cn", "googleusercontent.com"}
)
"""Domains of well-known services and clouds with names that tell the address of anybody's own machine."""

_QUAD = re.compile(r"(?<![0-9])(?=([0-9]{1,3})([.-])([0-9]{1,3})\2([0-9]{1,3})\2([0-9]{1,3})(?![0-9]))")
_HEX = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?![0-9a-z])")
_SIX = re.compile(r"[0-9a-f]{0,4}(?:-[0-9a-f]{0,4}){2,7}")


def mirrored_host(host: str) -> str | None:
    """Return the site that a cache's or a translator's name shows, or None.

    >>> mirrored_host("www-my--site-example.cdn.ampproject.org"), mirrored_host("cdn.ampproject.org")
    ('www.my-site.example', None)
    """
    label, _, domain = host.partition(".")
    if domain not in _ENCODING_DOMAINS:
        return None
    if label.startswith("0-") and label.endswith("-0"):
        label = label[2:-2]
    name = re.sub("--?", lambda found: "-" if found[0] == "--" else ".", label)
    return parse_host(name) if "." in name else None


def front_end_of(host: str) -> str | None:
    """Return the service of which `host` looks like an instance, by its first label.

    >>> front_end_of("invidious.example.org"), front_end_of("www.example.org")
    ('youtube-front-ends', None)
    """
    label, _, rest = host.partition(".")
    return FRONT_ENDS.get(label) if rest else None


def is_search_front_end(host: str) -> bool:
    """Return whether `host` looks like an instance of a search engine without a safe mode."""
    label, _, rest = host.partition(".")
    return bool(rest) and label in SEARCH_FRONT_ENDS


def names_an_address(host: str, addresses: Iterable[bytes]) -> bool:
    """Return whether a name contains one of the packed public addresses that it leads to, so that it is a bare address
    in disguise.

    >>> (names_an_address("45-55-10-13.nip.io", [bytes((45, 55, 10, 13))]),
    ...  names_an_address("2d370a0d.nip.io", [bytes((45, 55, 10, 13))]))
    (True, True)
    >>> names_an_address("13.10.55.45.bl.example", [bytes((127, 0, 0, 2))])
    False
    """
    spelled = {packed for packed in addresses if _may_be_spelled(host, packed) and not is_private(packed)}
    return bool(spelled) and not spelled.isdisjoint(_addresses_in(host))


def spells_numbers(host: str) -> bool:
    """Return whether a name contains four numbers as of an IPv4 address, in any order.

    >>> spells_numbers("43.40.55.45.bc.googleusercontent.com"), spells_numbers("www.example.org")
    (True, False)
    """
    return any(True for _ in _ipv4_candidates(host))


def _may_be_spelled(host: str, packed: bytes) -> bool:
    """Return whether a name contains all numbers of an IPv4 address, its hex digits, or hyphens as an IPv6 address
    needs them.
    """
    if len(packed) != 4:
        return host.count("-") > 1
    for octet in packed:
        if _NUMBERS[octet] not in host:
            return packed.hex() in host
    return True


_NUMBERS = tuple(map(str, range(256)))


def _addresses_in(host: str) -> set[bytes]:
    """Return the addresses that a name spells: four numbers, in either order as provider's names have them, eight hex
    digits, or IPv6.
    """
    found = {bytes(order) for quad in _ipv4_candidates(host) for order in (quad, quad[::-1])}
    found |= {bytes.fromhex(digits) for digits in _HEX.findall(host)}
    for label in host.split("."):
        for text in _SIX.findall(label):
            packed = _packed(text.replace("-", ":"))
            if packed is not None:
                found.add(packed)
    return found


def _ipv4_candidates(host: str) -> Iterable[tuple[int, ...]]:
    for match in _QUAD.finditer(host):
        numbers = tuple(int(match[group]) for group in (1, 3, 4, 5))
        if max(numbers) < 256:
            yield numbers


def _packed(text: str) -> bytes | None:
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    return address.packed
