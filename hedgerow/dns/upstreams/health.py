"""Health of the upstreams: recent successes and failures, the order in which channels are asked, and outages.

An upstream answers others at once while it is slow with one name, since the nameservers of that name are slow. So a
slow name is waited for, and dead upstreams are not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from struct import pack
from typing import Final

from hedgerow.backoff import pause_after
from hedgerow.dns import wire
from hedgerow.dns.upstreams.in_flight import DeadlineHandle, Deadlines
from hedgerow.dns.upstreams.upstream import Channel, UpstreamQuestion
from hedgerow.policies.network import UpstreamStrategy

_MIN_BACKOFF_SECONDS: Final = 1.0  # after one failure, since one datagram may be lost
_MAX_BACKOFF_SECONDS: Final = 60.0  # doubled with each failure up to this
_PROBE_INTERVAL: Final = 30.0  # seconds after which a slower upstream is measured again, along with the fastest
_MAX_PARALLEL: Final = 3

FAST_PROBE_SECONDS: Final = 1.0
SLOW_PROBE_SECONDS: Final = 2.0  # for upstreams that took long before, as over a satellite, or have not answered yet
_FAST_SECONDS: Final = 0.25
_ROOT: Final = UpstreamQuestion(b"\0" + pack("!HH", wire.SOA, wire.IN))


class UpstreamHealth:
    """Recent successes and failures of a channel."""

    __slots__ = ("asked_at", "backoff_until", "failed_at", "fails", "seconds")

    def __init__(self) -> None:
        self.fails = 0
        self.backoff_until = 0.0
        self.seconds = 0.0  # smoothed; 0 until it is known
        self.asked_at = self.failed_at = float("-inf")

    def asked(self, now: float, seconds: float) -> None:
        """Note an attempt that has this many seconds to answer.

        After a failure, other questions do not wait for its outcome.
        """
        self.asked_at = now
        if self.fails:
            self.backoff_until = max(self.backoff_until, now + seconds)

    def failed(self, now: float, began: float) -> None:
        """Note that an attempt that `began` then failed.

        Older ones than the last noticed failure do not count again.
        """
        if began >= self.failed_at:
            self.failed_at = now
            self.fails = min(self.fails + 1, 10)
            self.backoff_until = now + pause_after(self.fails, first=_MIN_BACKOFF_SECONDS, longest=_MAX_BACKOFF_SECONDS)

    def answered(self, seconds: float) -> None:
        self.fails, self.backoff_until = 0, 0.0
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds


def order_channels(
    usable: Sequence[Channel], health: Mapping[str, UpstreamHealth], strategy: UpstreamStrategy, now: float
) -> list[list[Channel]]:
    """Return rounds of channels: those to ask at once, those to ask next, and so on."""
    if len(usable) == 1:
        return [[usable[0]]]
    available = [channel for channel in usable if health[channel.name].backoff_until <= now]
    backing_off = [channel for channel in usable if channel not in available] if len(available) < len(usable) else []
    match strategy:
        case UpstreamStrategy.PARALLEL:
            rounds = (
                [available[:_MAX_PARALLEL], *([channel] for channel in available[_MAX_PARALLEL:])] if available else []
            )
        case UpstreamStrategy.FASTEST if available:
            available.sort(key=lambda channel: _speed(health[channel.name]))
            old = [channel for channel in available[1:] if now - health[channel.name].asked_at > _PROBE_INTERVAL]
            rounds = [[available[0], *old[:1]], *([channel] for channel in available[1:] if channel not in old[:1])]
        case _:
            rounds = [[channel] for channel in available]
    return rounds + [[channel] for channel in backing_off]


def _speed(health: UpstreamHealth) -> tuple[bool, float]:
    """Return a sort key. A channel that failed last, or has not answered yet, is only tried along with others."""
    is_new = health.asked_at == float("-inf")
    return health.fails > 0, health.seconds or (0.0 if is_new else float("inf"))


class Outage:
    """Detection of outages.

    `is_on`: no upstream of a pool answers. `on_outage` is called when a probe finds that out.
    """

    def __init__(self, deadlines: Deadlines, on_outage: Callable[[], None]) -> None:
        self.is_on = False
        self._heard_at = float("-inf")  # when an upstream last answered anything
        self._deadlines, self._on_outage = deadlines, on_outage
        self._deadline: DeadlineHandle | None = None  # of the probe in progress
        self._cancels: dict[str, Callable[[], None]] = {}

    def note_answer(self, now: float) -> None:
        """Note that an upstream answers, whatever it says."""
        self.is_on = False
        self._heard_at = now

    def suspect(self, began: float, channels: Iterable[Channel], health: Mapping[str, UpstreamHealth]) -> None:
        """Ask the channels for what each upstream knows, unless one has answered since a question `began` that got no
        answer in time.
        """
        if self._heard_at >= began or self.is_on or self._deadline is not None:
            return
        asked = tuple(channels)
        is_fast = all(0 < health[channel.name].seconds <= _FAST_SECONDS for channel in asked)
        self._deadline = self._deadlines.after(FAST_PROBE_SECONDS if is_fast else SLOW_PROBE_SECONDS, self._on_silence)
        for channel in asked:
            with contextlib.suppress(OSError):
                self._cancels[channel.name] = channel.send(
                    _ROOT, _ROOT.question, partial(self._on_message, channel.name)
                )

    def _on_message(self, name: str, message: bytes | Exception) -> None:
        self._cancels.pop(name, None)
        if isinstance(message, bytes) and self._deadline is not None:
            self._deadlines.cancel(self._deadline)
            self._end_probe()
            self.is_on = False

    def _on_silence(self) -> None:
        self._end_probe()
        self.is_on = True
        self._on_outage()

    def _end_probe(self) -> None:
        self._deadline = None
        cancels, self._cancels = self._cancels, {}
        for cancel in cancels.values():
            cancel()
