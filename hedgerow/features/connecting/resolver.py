"""The addresses at which devices at home reach this machine's DNS."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from hedgerow.app.settings import Endpoint
from hedgerow.features.contract import Core
from hedgerow.network.own_addresses import outgoing_addresses, own_addresses
from hedgerow.policies.network import NetworkSettings

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class ResolverAddresses:
    """The addresses to type into a router or device.

    `four` and `six` are empty if there is none of that kind. `port` is where DNS is served: devices ask port 53 only.
    """

    four: str
    six: str
    port: int

    @property
    def main(self) -> str:
        return self.four or self.six

    @property
    def is_usable(self) -> bool:
        return bool(self.main) and self.port == DNS_PORT


class HomeResolver:
    """This machine's DNS, as devices reach it."""

    def __init__(self, listening: Endpoint) -> None:
        self._listening = listening

    def addresses(self, network: NetworkSettings, here: str = "") -> ResolverAddresses:
        """Return the addresses. `here` is the one to which a browser has connected, which is preferred."""
        everywhere = (here, *outgoing_addresses(), *own_addresses())
        candidates = everywhere if self._listening.is_everywhere else (self._listening.host,)
        return resolver_addresses(self._listening.port, network, candidates)


def resolver_of(core: Core) -> HomeResolver:
    """Make the part of control that knows where DNS is served."""
    return HomeResolver(core.settings.dns)


def resolver_addresses(port: int, network: NetworkSettings, candidates: Sequence[str]) -> ResolverAddresses:
    """Return the first candidate of each family that is at home, of those at which DNS is served.

    >>> resolver_addresses(53, NetworkSettings(), ["127.0.0.1", "192.168.1.2"]).four
    '192.168.1.2'
    """
    found = {4: "", 6: ""}
    for text in filter(None, candidates):
        address = ipaddress.ip_address(text)
        is_lasting = not address.is_loopback and not address.is_link_local
        if is_lasting and not found[address.version] and network.is_at_home(address):
            found[address.version] = text
    return ResolverAddresses(found[4], found[6], port)
