"""Detection of tunnels in DNS: data leaves in the names of questions and comes back in the answers. Pure but for its own memory.

Any nameserver can be the other end, so no list knows them. But no site that people visit comes near `MAX_OCTETS` per minute and device, and
a tunnel below that is hardly fast enough to read text. Each worker counts for itself.

Domains whose owners lend their nameservers to nobody cannot be the other end: well-known sites, and services that programs ask by DNS, such
as those of antivirus programs.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from hedgerow.blocklists.names import is_beneath, registered_domain
from hedgerow.blocklists.sources import essential_hosts, popular_hosts
from hedgerow.policies.host_facts import background_hosts
from hedgerow.policies.model import DeviceId

MAX_OCTETS: Final = 128 * 1024
"""Octets of questions and answers for one registered domain and device in `WINDOW_SECONDS`: some 700 ordinary ones."""

WINDOW_SECONDS: Final = 60.0
BLOCK_SECONDS: Final = 3600.0

_MAX_ENTRIES: Final = 4096


@cache
def trusted_domains() -> frozenset[str]:
    """Return the domains that carry no tunnel, whatever goes through them."""
    # Anybody who holds addresses has a part of in-addr.arpa.
    background = {host for host, kind in background_hosts().items() if kind != "lookups"}
    return popular_hosts() | essential_hosts() | background


type _Pair = tuple[DeviceId, str]


class TunnelDetector:
    """The domains that are blocked for a device because they carried too much. Instants are of one clock, in seconds."""

    def __init__(self) -> None:
        self._carried: dict[_Pair, tuple[float, int]] = {}
        self._blocked_until: dict[_Pair, float] = {}

    def record(self, device: DeviceId, host: str, octets: int, now: float) -> None:
        """Count the octets of a question for `host` that no cache answered."""
        if is_beneath(host, trusted_domains()):
            return
        pair = (device, registered_domain(host))
        began, before = self._carried.get(pair, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, before = now, 0
        if len(self._carried) >= _MAX_ENTRIES:
            self._carried.clear()
        self._carried[pair] = (began, before + octets)
        if before + octets > MAX_OCTETS:
            if len(self._blocked_until) >= _MAX_ENTRIES:
                self._blocked_until.clear()
            self._blocked_until[pair] = now + BLOCK_SECONDS

    def is_blocked(self, device: DeviceId, host: str, now: float) -> bool:
        """Return whether the domain of `host` is blocked for `device` now."""
        if not self._blocked_until:
            return False
        pair = (device, registered_domain(host))
        until = self._blocked_until.get(pair, now)
        if until <= now:
            self._blocked_until.pop(pair, None)
        return until > now
