"""Limits of attempts per device within some minutes: requests for access, passwords, codes."""

from __future__ import annotations

from collections import deque

from hedgerow.policies.model import DeviceId
from hedgerow.values import BoundedDict

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
        self._most_unnamed = 4 * count if unnamed is None else unnamed
        self._attempts = BoundedDict[DeviceId, deque[tuple[float, DeviceId]]](devices)
        self._unnamed: deque[tuple[float, DeviceId]] = deque()

    def allows(self, device: DeviceId, now: float, *, is_named: bool = True) -> bool:
        """True if the device may make one more attempt now, which is then counted."""
        attempts = self._unnamed
        if is_named:
            attempts = self._attempts[device] = self._attempts.get(device, deque())
        while attempts and attempts[0][0] <= now - self._seconds:
            attempts.popleft()
        own = sum(each == device for _, each in attempts)
        if own >= self._count or (len(attempts) >= self._most_unnamed and not is_named):
            return False
        attempts.append((now, device))
        return True

    def forget(self, device: DeviceId) -> None:
        """Forget the attempts of a device, because the last one was right."""
        self._attempts.pop(device, None)
        self._unnamed = deque(each for each in self._unnamed if each[1] != device)
