"""The limits of a gate."""

from __future__ import annotations

from hedgerow.proxy.gate.table import GateLimits


def test_workers_share_the_limits() -> None:
    whole = GateLimits()
    for workers in (1, 2, 3, 8):
        part = whole.shared_by(workers)
        assert whole.device <= part.device * workers < whole.device + workers
        assert whole.total <= part.total * workers < whole.total + workers
