"""Limits of attempts per device within some minutes: requests for access, passwords, codes."""

from __future__ import annotations

from collections import OrderedDict, deque

from hedgerow.policies.model import DeviceId


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
