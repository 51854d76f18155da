"""Limits of attempts per device within some minutes: requests for access, passwords, codes."""

from __future__ import annotations

from collections import OrderedDict, deque

from hedgerow.policies.model import DeviceId

MAX_ATTEMPTS, ATTEMPT_WINDOW_S = 5, 900.0
"""Codes that may be typed at a device, and the seconds within which they count."""


class AttemptLimiter:
    """At most `count` attempts per device within `seconds`, and `unnamed` of all devices together that the policy does
    not name.

    Without the second limit, a device that takes another address would be a new one each time. Remembers a bounded
    number of devices; those without a name never make it forget others.

    >>> limiter = AttemptLimiter(count=2, seconds=60.0, unnamed=3)
    >>> [limiter.allows(DeviceId(address), 0.0, is_named=False) for address in ("a", "a", "a", "b", "c")]
    [True, True, False, True, False]
    >>> limiter.allows(DeviceId("mias-phone"), 0.0)
    True
    """

    def __init__(self, count: int = 5, seconds: float = 600.0, devices: int = 1024, unnamed: int | None = None) -> None:
        self._count = count
        self._seconds = seconds
        self._devices = devices
        self._most_unnamed = 4 * count if unnamed is None else unnamed
        self._attempts: OrderedDict[DeviceId, deque[float]] = OrderedDict()
        self._unnamed: deque[tuple[float, DeviceId]] = deque()

    def allows(self, device: DeviceId, now: float, *, is_named: bool = True) -> bool:
        """True if the device may make one more attempt now, which is then counted."""
        if not is_named:
            return self._allows_unnamed(device, now)
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

    def _allows_unnamed(self, device: DeviceId, now: float) -> bool:
        while self._unnamed and self._unnamed[0][0] <= now - self._seconds:
            self._unnamed.popleft()
        own = sum(each == device for _, each in self._unnamed)
        if own >= self._count or len(self._unnamed) >= self._most_unnamed:
            return False
        self._unnamed.append((now, device))
        return True

    def forget(self, device: DeviceId) -> None:
        """Forget the attempts of a device, because the last one was right."""
        self._attempts.pop(device, None)
        self._unnamed = deque(each for each in self._unnamed if each[1] != device)
