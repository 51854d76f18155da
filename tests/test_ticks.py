"""Ticks: whatever waits for one ends with all others that do."""

from __future__ import annotations

import time

import pytest

from hedgerow.ticks import seconds_to_tick


@pytest.mark.parametrize(
    ("now", "every", "expected"),
    [
        (100.0, 1.0, 1.0),
        (100.25, 1.0, 0.75),
        (100.25, 0.5, 0.25),
        (100.25, 5.0, 4.75),
        (100.998, 1.0, 1.002),  # a timer that ended too early
        (100.75, 2.0, 1.25),
    ],
)
def test_a_tick_is_a_multiple_of_its_interval(
    monkeypatch: pytest.MonkeyPatch, now: float, every: float, expected: float
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert seconds_to_tick(every) == pytest.approx(expected)
