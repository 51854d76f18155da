"""Limits per device."""

from __future__ import annotations

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.limits import AttemptLimiter


def test_attempts_per_device_are_limited() -> None:
    limit = AttemptLimiter(count=2, seconds=60)
    mia, tom = DeviceId("mia"), DeviceId("tom")
    assert [limit.allows(mia, now) for now in (0, 1, 2, 59.9)] == [True, True, False, False]
    assert limit.allows(tom, 2)
    assert limit.allows(mia, 60)
    assert not limit.allows(mia, 60.5)


def test_the_number_of_remembered_devices_is_bounded() -> None:
    limit = AttemptLimiter(devices=10)
    for number in range(100):
        limit.allows(DeviceId(str(number)), 0.0)
    assert len(limit._attempts) == 10
