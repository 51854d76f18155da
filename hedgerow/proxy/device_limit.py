"""How many connections each device has at a gate or an inspector, and that none has too many."""

from __future__ import annotations

from collections import Counter

from hedgerow.policies.model import DeviceId


class DeviceLimit:
    """At most `limit` connections of one device at a time.

    >>> connections = DeviceLimit(1)
    >>> connections.enter(DeviceId("tablet")), connections.enter(DeviceId("tablet")), connections.enter(DeviceId("phone"))
    (True, False, True)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[DeviceId] = Counter()

    def enter(self, device: DeviceId) -> bool:
        """Whether a device may have one more connection, which is then counted until `leave`."""
        if self._counts[device] >= self._limit:
            return False
        self._counts[device] += 1
        return True

    def leave(self, device: DeviceId) -> None:
        """A connection that had entered is over."""
        self._counts[device] -= 1
        if not self._counts[device]:
            del self._counts[device]
