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
from hedgerow.policies.model import AccessRequest, Decision, DeviceId, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.values import BoundedDict, value_dataclass

WINDOW_MINUTES, MOST_LIKE_A_TUNNEL = 15, 10
"""Minutes that are judged together, and those among them that must look like a tunnel's."""

MIN_OCTETS = 2 * 1024**2
"""Octets per minute below which a minute says nothing: chats, games in a browser and lessons move less."""

# Octets of one way for each octet of the other. OpenVPN has 30 in a download, and pages through a tunnel have 12 to 45;
# a site's pictures of 60 kB have 75 by HTTP/1, with a request of 800 octets.
_MOST_OF_OTHER_WAY = 50
_MOST_OTHER_SITES, _OTHER_SITE_OCTETS = 3, 4096  # with which the device has more than connections that it keeps alive
_LARGEST_OTHER_SHARE = 10  # of which one part may go to other sites

_MOST_REQUESTS = 3
"""Requests per device and hour to let a tunnel through."""

_FOUND_SECONDS = 7 * 86_400.0
_MAX_DEVICES, _MAX_FOUND = 1024, 1024


@value_dataclass(frozen=True, slots=True)
class TunnelUse:
    """The octets that one connection of a device has moved in a minute, from the client (`up`) and to it (`down`).

    `address` is the client's. `is_unlisted`: nothing is known of the host.
    """

    address: str
    device: DeviceId
    host: str
    is_unlisted: bool
    up: int
    down: int


class TunnelTraffic:
    """The minutes of each device, and the sites that were found to carry a tunnel. Bounded in both.

    An `owner` is a device for limits.
    """

    def __init__(self) -> None:
        self._requests = AttemptLimiter(_MOST_REQUESTS, 3600.0)
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

    def close_tunnels(self, minute: int, uses: Iterable[TunnelUse], policy: ProxyPolicy, now: float) -> bool:
        """Judge the uses of a minute, close sites that are used as a tunnel, and ask the people in charge about each.

        Return whether there are any.
        """
        is_any = False
        for use in self.judge(minute, uses):
            found = policy.find_client(use.address)
            if found is None:
                continue
            device, ruleset = found
            owner, decision = ruleset.limited_as(device.id), policy.decide(ruleset, _as_tunnel(device.id, use.host))
            if decision.verdict is not Verdict.BLOCK or self.is_tunnel(owner, use.host, now):
                continue
            self.note(owner, use.host, now)
            is_any = True
            if policy.denied_at(device.id, use.host) is None and self._requests.allows(
                owner, now, is_named=device.known
            ):
                reason = f"{decision.reason.value}: {decision.what}"
                policy.request_access(AccessRequest(now, device.id, ruleset.person, use.host, reason=reason))
        return is_any

    def note(self, owner: DeviceId, host: str, now: float) -> None:
        """Note that the site of a host carries a tunnel."""
        self._found[owner, registered_domain(host)] = now + _FOUND_SECONDS

    def is_tunnel(self, owner: DeviceId, host: str, now: float) -> bool:
        """Return whether a host is of a site that was noted."""
        return bool(self._found) and now < self._found.get((owner, registered_domain(host)), 0.0)

    def decide(self, policy: ProxyPolicy, ruleset: Ruleset, request: Request, now: float) -> Decision:
        """Return the decision of a policy on an inspected request, a block if its site is used as a tunnel."""
        if self.is_tunnel(ruleset.limited_as(request.device), request.host, now):
            decision = policy.decide(ruleset, _as_tunnel(request.device, request.host))
            if decision.verdict is Verdict.BLOCK:
                return decision
        return policy.decide(ruleset, request)


def _as_tunnel(device: DeviceId, host: str) -> Request:
    return Request(device, RequestKind.TUNNEL, host, 443, flaw=CertificateFlaw.TUNNEL)


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
    return next((each for each in largest if each.is_unlisted), None) if is_tunnel else None
