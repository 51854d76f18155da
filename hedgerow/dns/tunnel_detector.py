"""Notices tunnels in questions for names: what goes out stands in names, what comes in in their answers.

Any nameserver of somebody's own will do for one end, so no list knows them. But what a tunnel carries shows: no site that people visit has
names enough to come near `MAX_OCTETS` a minute from one device, and below it there is hardly the speed to read text. Pure but for what
it remembers. Each worker counts for itself.
"""

from __future__ import annotations

from typing import Final

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.model import DeviceId

MAX_OCTETS: Final = 128 * 1024
"""Of questions and answers about the names of one registered domain, for one device in `WINDOW_SECONDS`: of ordinary ones some 700."""

WINDOW_SECONDS: Final = 60.0
BLOCK_SECONDS: Final = 3600.0

_MAX_ENTRIES: Final = 4096

type _Pair = tuple[DeviceId, str]


class TunnelDetector:
    """Which domains are shut to which device, for they carried too much. Instants are of any one clock, in seconds."""

    def __init__(self) -> None:
        self._carried: dict[_Pair, tuple[float, int]] = {}
        self._blocked_until: dict[_Pair, float] = {}

    def record(self, device: DeviceId, host: str, octets: int, now: float) -> None:
        """A question for `host` that no cache could answer has moved so many octets."""
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
        """Whether the domain of `host` is shut to `device` at this moment."""
        if not self._blocked_until:
            return False
        pair = (device, registered_domain(host))
        until = self._blocked_until.get(pair, now)
        if until <= now:
            self._blocked_until.pop(pair, None)
        return until > now
