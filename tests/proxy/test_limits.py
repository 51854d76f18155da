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


def test_strangers_have_few_attempts_together_and_empty_no_memory() -> None:
    """A device that takes a new address for each attempt would else guess codes, or bury the requests of others."""
    limit = AttemptLimiter(count=5, seconds=600, devices=10)
    mia = DeviceId("mia")
    assert [limit.allows(mia, 0.0) for _ in range(6)] == [True] * 5 + [False]
    made = sum(
        limit.allows(DeviceId(f"192.168.1.{number}"), float(number % 7), is_named=False) for number in range(2000)
    )
    assert made == 20
    assert not limit.allows(mia, 599.0)
    assert limit.allows(DeviceId("tom"), 1.0)
    assert limit.allows(DeviceId("192.168.1.1"), 700.0, is_named=False)


def test_a_right_attempt_of_a_stranger_is_forgotten() -> None:
    limit = AttemptLimiter(count=1, unnamed=1)
    stranger = DeviceId("192.168.1.9")
    assert limit.allows(stranger, 0.0, is_named=False)
    limit.forget(stranger)
    assert limit.allows(stranger, 0.0, is_named=False)
