"""Limits per device: connections at a time, and attempts (requests for access, passwords, codes) within some minutes."""

from __future__ import annotations

from collections import OrderedDict, deque

from hedgerow.policies.model import DeviceId


class DeviceConnectionLimit:
    """At most `limit` connections per device at a time.

    >>> connections = DeviceConnectionLimit(1)
    >>> connections.enter(DeviceId("tablet")), connections.enter(DeviceId("tablet")), connections.enter(DeviceId("phone"))
    (True, False, True)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[DeviceId, int] = {}

    def has_room(self, device: DeviceId) -> bool:
        """Return whether the device may have one more connection."""
        return self._counts.get(device, 0) < self._limit

    def enter(self, device: DeviceId) -> bool:
        """True if the device may have one more connection, which is then counted until `leave`."""
        count = self._counts.get(device, 0)
        if count >= self._limit:
            return False
        self._counts[device] = count + 1
        return True

    def leave(self, device: DeviceId) -> None:
        """Stop counting a connection that had entered."""
        count = self._counts.pop(device) - 1
        if count:
            self._counts[device] = count


class AttemptLimiter:
    """At most `count` attempts per device within `seconds`. Remembers a bounded number of devices."""

    def __init__(self, count: int = 5, seconds: float = 600.0, devices: int = 1024) -> None:
        self._count = count
        self._seconds = seconds
        self._devices = devices
        self._attempts: OrderedDict[DeviceId, deque[float]] = OrderedDict()

    def allows(self, device: DeviceId, now: float) -> bool:
        """True if the device may make one more attempt now, which is then counted."""
        times = self._attempts.setdefault(device, deque())
        self._attempts.move_to_end(device)
        while len(self._attempts) > self._devices:
            self._attempts.popitem(last=False)
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._count:
            return False
        times.append(now)
        return True

    def forget(self, device: DeviceId) -> None:
        """Forget the attempts of a device, because the last one was right."""
        self._attempts.pop(device, None)
