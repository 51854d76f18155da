"""Detection of tunnels in DNS: data leaves in the names of questions and comes back in the answers.

Pure but for its own memory.

Any nameserver can be the other end, so no list knows them. But no site that people visit comes near `MAX_OCTETS` per
minute and device, and a tunnel below that is hardly fast enough to read text. Each worker counts for itself.

Domains whose owners lend their nameservers to nobody cannot be the other end: well-known sites and services,
advertising with a name per page, and services that programs ask by DNS, such as those of antivirus programs.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from hedgerow.blocklists.names import is_beneath, registered_domain
from hedgerow.blocklists.sources import essential_hosts, popular_hosts
from hedgerow.policies.host_facts import Services, background_hosts
from hedgerow.policies.model import DeviceId

MAX_OCTETS: Final = 128 * 1024
"""Octets of questions and answers for one registered domain and device in `WINDOW_SECONDS`: some 700 ordinary ones."""

MAX_OF_DEVICE: Final = 4 * MAX_OCTETS
"""Octets for all domains of one device in the same time, above which each domain may carry `MAX_SHARE` only: a tunnel
can use many.
"""

MAX_SHARE: Final = MAX_OCTETS // 16

FREE_OCTETS: Final = 2048
"""Octets of each domain that `MAX_OF_DEVICE` does not count: the people behind a forwarder, who are one device here,
use many domains and ask for a few names of each.
"""

MAX_FREE: Final = 16 * MAX_OCTETS
"""Octets of one device that are not counted, in all domains: a tunnel can invent any number of them."""

WINDOW_SECONDS: Final = 60.0
BLOCK_SECONDS: Final = 3600.0

_MAX_ENTRIES: Final = 4096

_TRUSTED_GROUPS: Final = frozenset({"ai-chat", "forums", "games", "messaging", "music", "shopping", "social", "video"})

_NAME_PER_PAGE: Final = frozenset(
    {"googlesyndication.com", "doubleclick.net", "2mdn.net", "adnxs.com", "sentry.io", "online-metrix.net"}
)
"""Advertising, error reports and fraud checks that make a new name for each page or visitor, from what browsers ask."""


@cache
def trusted_domains() -> frozenset[str]:
    """Return the domains that carry no tunnel, whatever goes through them."""
    # Anybody who holds addresses has a part of in-addr.arpa.
    background = {host for host, kind in background_hosts().items() if kind != "lookups"}
    services = (service for service in Services.load().by_id.values() if service.group in _TRUSTED_GROUPS)
    owned = {domain for service in services for domain in (*service.domains, *service.shared)}
    return popular_hosts() | essential_hosts() | background | owned | _NAME_PER_PAGE


type _Pair = tuple[DeviceId, str]
type _Count = tuple[float, int]
"""The beginning of a window and the octets in it."""


class TunnelDetector:
    """The domains that are blocked for a device because they carried too much.

    Instants are of one clock, in seconds.
    """

    def __init__(self) -> None:
        self._carried: dict[_Pair, _Count] = {}
        self._of_devices: dict[DeviceId, _Count] = {}
        self._free: dict[DeviceId, _Count] = {}
        self._blocked_until: dict[_Pair, float] = {}

    def record(self, device: DeviceId, host: str, octets: int, now: float) -> None:
        """Count the octets of a question for `host` that no cache answered."""
        if is_beneath(host, trusted_domains()):
            return
        pair = (device, registered_domain(host))
        carried = _add(self._carried, pair, octets, now)
        free = min(carried, FREE_OCTETS) - min(carried - octets, FREE_OCTETS)
        is_free = not free or _add(self._free, device, free, now) <= MAX_FREE
        of_device = _add(self._of_devices, device, octets - free if is_free else octets, now)
        if carried > (MAX_OCTETS if of_device <= MAX_OF_DEVICE else MAX_SHARE):
            if len(self._blocked_until) >= _MAX_ENTRIES:
                del self._blocked_until[next(iter(self._blocked_until))]
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


def _add[K](counts: dict[K, _Count], key: K, octets: int, now: float) -> int:
    """Return the octets of `key` in its window.

    Of too many keys, those with most octets stay: names that nobody asked before hide none.
    """
    began, before = counts.get(key, (now, 0))
    if now - began >= WINDOW_SECONDS:
        began, before = now, 0
    if len(counts) >= _MAX_ENTRIES and key not in counts:
        running = [entry for entry in counts.items() if now - entry[1][0] < WINDOW_SECONDS]
        heavy = sorted(running, key=lambda entry: entry[1][1], reverse=True)
        counts.clear()
        counts.update(heavy[: _MAX_ENTRIES // 2])
    counts[key] = (began, before + octets)
    return before + octets
