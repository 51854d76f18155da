"""Names that have a meaning of their own, whatever the upstream would say.

Sources: RFC 6761 (localhost, invalid), RFC 7686 (onion), RFC 9462 section 4 (resolver.arpa), Mozilla's "Canary domain -
use-application-dns.net", Apple's "Prepare your network or web server for iCloud Private Relay", Chrome's private prefetch proxy.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, assert_never

from hedgerow.dns import answers, check_names, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.wire import Query


class Special(Enum):
    LOOPBACK = auto()  # the asker's own machine
    NXDOMAIN = auto()
    NODATA = auto()
    CANARY = auto()  # NXDOMAIN switches a browser's own resolver off
    CHECK = auto()  # see `check_names`


_SUFFIXES: Final = {
    "localhost": Special.LOOPBACK,
    "invalid": Special.NXDOMAIN,
    "onion": Special.NXDOMAIN,
    # The upstream must not designate itself; `designation` names our own resolver where one is served.
    "resolver.arpa": Special.NODATA,
    "use-application-dns.net": Special.CANARY,
    check_names.ZONE: Special.CHECK,
}

# Blocking these with an address would make the device wait for it; NXDOMAIN makes it use the network's resolver at once.
NXDOMAIN_WHEN_BLOCKED: Final = frozenset(
    {"mask.icloud.com", "mask-h2.icloud.com", "mask-api.icloud.com", "mask-canary.icloud.com", "dns-tunnel-check.googlezip.net"}
)


def special(host: str) -> Special | None:
    """
    >>> special("_dns.resolver.arpa"), special("example.com")
    (<Special.NODATA: 3>, None)
    """
    while host:
        found = _SUFFIXES.get(host)
        if found is not None:
            return found
        host = host.partition(".")[2]
    return None


def special_answer(query: Query, reserved: Special) -> Draft:
    """What is answered instead of what the upstream would say."""
    match reserved:
        case Special.LOOPBACK:
            return answers.addresses(query, ("127.0.0.1", "::1"), answers.BLOCKED_TTL)
        case Special.NXDOMAIN | Special.CANARY:
            return answers.no_such_data(wire.NXDOMAIN)
        case Special.NODATA:
            return answers.no_such_data()
        case Special.CHECK:
            address = check_names.checked_address(query.host)
            if address is None or not check_names.is_here(address):
                return answers.no_such_data(wire.NXDOMAIN)
            return answers.addresses(query, (str(address),), answers.BLOCKED_TTL)
        case never:
            assert_never(never)
