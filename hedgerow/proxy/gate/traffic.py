"""Judgement of what a device's connections carry, minute by minute: an unlisted host that carries nearly everything is
a tunnel past the filter, whatever its server answers to a look. Pure.

A page loads from a dozen hosts, and a download, a film or an upload goes one way. A VPN or proxy behind TLS leaves
nothing for other hosts, both ways, for as long as it is used. Only unlisted hosts can be one: calls, games and storage
that a list, a service or the policy knows never are.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.certificate_examiner import Server
from hedgerow.values import BoundedDict, value_dataclass

WINDOW_MINUTES, MOST_LIKE_A_TUNNEL = 15, 10
"""Minutes that are judged together, and those among them that must look like a tunnel's."""

MIN_OCTETS = 2 * 1024**2
"""Octets per minute below which a minute says nothing: chats, games in a browser and lessons move less."""

_MOST_OF_OTHER_WAY = 100  # octets of one way for each octet of the other; OpenVPN has 30 in a download, pages have 12
_MOST_OTHER_SITES, _OTHER_SITE_OCTETS = 3, 4096  # with which the device has more than connections that it keeps alive
_LARGEST_OTHER_SHARE = 10  # of which one part may go to other sites

_FOUND_SECONDS = 7 * 86_400.0
_MAX_DEVICES, _MAX_FOUND = 1024, 1024


@value_dataclass(frozen=True, slots=True)
class TunnelUse:
    """The octets that one tunnel of a device has moved in a minute, from the client (`up`) and to it (`down`).

    `address` is the client's, and `unlisted` the server if nothing is known of its host.
    """

    address: str
    device: DeviceId
    host: str
    unlisted: Server | None
    up: int
    down: int


class TunnelTraffic:
    """The minutes of each device, and the sites that were found to carry a tunnel. Bounded in both."""

    def __init__(self) -> None:
        self._minutes = BoundedDict[DeviceId, deque[tuple[int, str]]](_MAX_DEVICES)
        self._found = BoundedDict[tuple[DeviceId, str], float](_MAX_FOUND)

    def judge(self, minute: int, uses: Iterable[TunnelUse]) -> list[TunnelUse]:
        """Take the uses of a minute, numbered since the epoch.

        Return one for each device that uses a site as a tunnel.
        """
        by_device = defaultdict[DeviceId, list[TunnelUse]](list)
        for use in uses:
            by_device[use.device].append(use)
        found = []
        for device, own in by_device.items():
            tunnel = _tunnel_among(own)
            if tunnel is None:
                continue
            site = registered_domain(tunnel.host)
            minutes = self._minutes[device] = self._minutes.get(device, deque())
            minutes.append((minute, site))
            while minutes[0][0] <= minute - WINDOW_MINUTES:
                minutes.popleft()
            if sum(each == site for _, each in minutes) >= MOST_LIKE_A_TUNNEL:
                found.append(tunnel)
        return found

    def note(self, server: Server, now: float) -> None:
        """Note that the site of a server carries a tunnel of its owner."""
        self._found[server.owner, registered_domain(server.host)] = now + _FOUND_SECONDS

    def is_tunnel(self, server: Server, now: float) -> bool:
        """Return whether a server is of a site that was noted for its owner."""
        return now < self._found.get((server.owner, registered_domain(server.host)), 0.0)


def _tunnel_among(uses: list[TunnelUse]) -> TunnelUse | None:
    """Return a use of the site that carries what a device does in a minute, if that looks like a tunnel's."""
    by_site = defaultdict[str, list[TunnelUse]](list)
    for use in uses:
        by_site[registered_domain(use.host)].append(use)
    total = sum(each.up + each.down for each in uses)
    largest = max(by_site.values(), key=lambda own: sum(each.up + each.down for each in own))
    others = sum(sum(each.up + each.down for each in own) >= _OTHER_SITE_OCTETS for own in by_site.values()) - 1
    less, more = sorted((sum(each.up for each in largest), sum(each.down for each in largest)))
    is_tunnel = (
        less + more >= MIN_OCTETS
        and less * _MOST_OF_OTHER_WAY >= more
        and (total - less - more) * _LARGEST_OTHER_SHARE <= total
        and others <= _MOST_OTHER_SITES
    )
    return next((each for each in largest if each.unlisted is not None), None) if is_tunnel else None
