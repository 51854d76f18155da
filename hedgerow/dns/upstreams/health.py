"""Health of the upstreams: recent successes and failures, from which the order follows in which they are asked."""

from __future__ import annotations

from typing import Final

_MIN_BACKOFF_SECONDS: Final = 1.0  # after one failure, since one datagram may be lost
_MAX_BACKOFF_SECONDS: Final = 60.0  # doubled with each failure up to this


class UpstreamHealth:
    """Recent successes and failures of a channel."""

    __slots__ = ("asked_at", "backoff_until", "failed_at", "fails", "seconds")

    def __init__(self) -> None:
        self.fails = 0
        self.backoff_until = 0.0
        self.seconds = 0.0  # smoothed; 0 until it is known
        self.asked_at = self.failed_at = float("-inf")

    def asked(self, now: float, seconds: float) -> None:
        """Note an attempt with so many seconds to answer. After a failure, other questions do not wait for its outcome."""
        self.asked_at = now
        if self.fails:
            self.backoff_until = max(self.backoff_until, now + seconds)

    def failed(self, now: float, began: float) -> None:
        """Note that an attempt that `began` then failed. Older ones than the last noticed failure do not count again."""
        if began >= self.failed_at:
            self.failed_at = now
            self.backoff_until = now + min(_MIN_BACKOFF_SECONDS * 2**self.fails, _MAX_BACKOFF_SECONDS)
            self.fails = min(self.fails + 1, 10)

    def answered(self, seconds: float) -> None:
        self.fails, self.backoff_until = 0, 0.0
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds
