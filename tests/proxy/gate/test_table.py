"""The limits of a gate."""

from __future__ import annotations

from hedgerow.proxy.gate.table import GateLimits


def test_workers_share_the_limits() -> None:
    whole = GateLimits()
    for workers in (1, 2, 3, 8):
        part = whole.shared_by(workers)
        assert whole.device <= part.device * workers < whole.device + workers
        assert whole.total <= part.total * workers < whole.total + workers


def test_limits_fit_the_descriptors_of_the_process() -> None:
    for descriptors in (64, 256, 1024, 65_536):
        limits = GateLimits().within(descriptors)
        assert limits.total <= GateLimits().total
        assert 4 * limits.device <= max(limits.total, 8)
        assert descriptors < 256 or 2 * limits.total < descriptors
    assert GateLimits().within(65_536) == GateLimits()
