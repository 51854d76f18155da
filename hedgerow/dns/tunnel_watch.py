"""Notices tunnels in questions for names: what goes out stands in names, what comes in in their answers.

Any nameserver of somebody's own will do for one end, so no list knows them. But what a tunnel carries shows: no site that people visit has
names enough to come near `MOST_OCTETS` a minute from one device, and below it there is hardly the speed to read text. Pure but for what
it remembers. Each worker counts for itself.
"""

from __future__ import annotations

from typing import Final

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.model import DeviceId

MOST_OCTETS: Final = 128 * 1024
"""Of questions and answers about the names of one registered domain, for one device in `MINUTE_S`: of ordinary ones some 700."""

MINUTE_S: Final = 60.0
SHUT_S: Final = 3600.0

_MOST_REMEMBERED: Final = 4096

type _Pair = tuple[DeviceId, str]


class TunnelWatch:
    """Which domains are shut to which device, for they carried too much. Instants are of any one clock, in seconds."""

    def __init__(self) -> None:
        self._carried: dict[_Pair, tuple[float, int]] = {}
        self._shut: dict[_Pair, float] = {}

    def carried(self, device: DeviceId, host: str, octets: int, now: float) -> None:
        """A question for `host` that no cache could answer has moved so many octets."""
        pair = (device, registered_domain(host))
        began, before = self._carried.get(pair, (now, 0))
        if now - began >= MINUTE_S:
            began, before = now, 0
        if len(self._carried) >= _MOST_REMEMBERED:
            self._carried.clear()
        self._carried[pair] = (began, before + octets)
        if before + octets > MOST_OCTETS:
            if len(self._shut) >= _MOST_REMEMBERED:
                self._shut.clear()
            self._shut[pair] = now + SHUT_S

    def is_shut(self, device: DeviceId, host: str, now: float) -> bool:
        """Whether the domain of `host` is shut to `device` at this moment."""
        if not self._shut:
            return False
        pair = (device, registered_domain(host))
        until = self._shut.get(pair, now)
        if until <= now:
            self._shut.pop(pair, None)
        return until > now
