"""Cache misses in flight: they end with the upstream's answer, a stale one (RFC 8767), or a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from hedgerow.dns.aliases import start_following
from hedgerow.dns.answers import STALE_TTL
from hedgerow.dns.cache import Resolution
from hedgerow.dns.upstreams.in_flight import DeadlineHandle
from hedgerow.dns.upstreams.pool import UpstreamOutcome, UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import HEADER, Query

# seconds that a client waits for the upstreams while a stale answer is at hand (RFC 8767, section 5)
STALE_ANSWER_DELAY: Final = 1.8

OUTAGE_STALE_DELAY: Final = 0.1
"""The same for upstreams that did not answer the last time: enough to notice that they are back."""


class Fresh(NamedTuple):
    """The upstream's answer. `is_late`: the client has a stale answer already, so this one is for the next client."""

    response: Response
    is_late: bool = False


class Stale(NamedTuple):
    """An expired resolution, for want of a newer one. `keep`: it may be cached, since no upstream answers."""

    resolution: Resolution
    keep: bool


class Failed(NamedTuple):
    """No upstream answers, and there is no stale answer that may be used."""

    error: UpstreamError


type Outcome = Fresh | Stale | Failed


class PendingQuery:
    """A cache miss in flight.

    Calls `on_outcome` once; or first with `Stale`, when the upstreams are slow, then with a late `Fresh`.

    No client waits long a second time for upstreams that were slow with the same question, or that do not answer
    anything.
    """

    __slots__ = ("_clock", "_deadline", "_is_answered", "_on_outcome", "_stale", "_upstreams")

    def __init__(
        self,
        upstreams: UpstreamPool,
        stale: Resolution | None,
        clock: Callable[[], float],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._upstreams, self._stale, self._clock, self._on_outcome = upstreams, stale, clock, on_outcome
        self._deadline: DeadlineHandle | None = None
        self._is_answered = False

    def start(self, query: Query) -> None:
        """Ask the upstreams, unless they failed to answer a moment ago."""
        question = UpstreamQuestion.of(query)
        if self._stale is not None:
            if self._stale.recheck_at > self._clock():
                self._on_outcome(Stale(self._stale, keep=True))
                return
            is_down = self._stale.is_slow or self._upstreams.is_down(question.question)
            delay = OUTAGE_STALE_DELAY if is_down else STALE_ANSWER_DELAY
            self._deadline = self._upstreams.deadlines.after(delay, self._on_stale_delay)
        if self._upstreams.is_echo(question, query.data[HEADER : query.end]):
            self._finish(UpstreamError("this question came back to its sender: resolvers ask each other in a loop"))
        else:
            start_following(self._upstreams, question, self._finish)

    def _on_stale_delay(self) -> None:
        self._deadline = None
        if self._stale is not None:
            self._is_answered = self._stale.is_slow = True
            self._on_outcome(Stale(self._stale, keep=False))  # the upstreams may still answer

    def _finish(self, outcome: UpstreamOutcome) -> None:
        if self._deadline is not None:
            self._upstreams.deadlines.cancel(self._deadline)
        if not isinstance(outcome, UpstreamError):
            self._on_outcome(Fresh(outcome, self._is_answered))
            return
        stale = None if outcome.is_bogus else self._stale
        if stale is not None:
            stale.recheck_at = self._clock() + STALE_TTL
        if not self._is_answered:
            self._on_outcome(Failed(outcome) if stale is None else Stale(stale, keep=True))
