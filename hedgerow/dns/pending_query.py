"""An answer that is not there yet, as a value of its own: None means that there will be none."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.answers import STALE_TTL
from hedgerow.dns.cache import STALE_SECONDS, CacheEntry, ClockCache, Resolution, resolution_key
from hedgerow.dns.upstreams.in_flight import DeadlineHandle
from hedgerow.dns.upstreams.pool import UpstreamOutcome, UpstreamPool, is_bogus
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import HEADER, Query
from hedgerow.policies.model import Decision, DeviceId
from hedgerow.policies.ruleset import Ruleset


class Pending(Enum):
    PENDING = auto()


PENDING: Final = Pending.PENDING


class Answer(NamedTuple):
    """What to send (None: nothing) and the entry that says what was decided (None: nothing was)."""

    message: bytes | None
    entry: CacheEntry | None = None


class Clocks(NamedTuple):
    """Both clocks: TTLs run by the steady one, rulesets end by the one on the wall."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class QueryContext(NamedTuple):
    """A query that must be forwarded, with who asks and what was decided about its name."""

    ruleset: Ruleset
    device: DeviceId
    query: Query
    host: str
    transport: str
    decision: Decision
    prefix: bytes
    answer_policy: AnswerPolicy  # of the snapshot that the ruleset belongs to


type AnswerCallback = Callable[[Answer], None]


STALE_ANSWER_DELAY: Final = 1.8  # how long a client waits for the upstreams where an old answer is at hand (RFC 8767, section 5)


class MissHandler(Protocol):
    """Who sends on errands: where things are kept, and what is made of what was brought."""

    clocks: Clocks
    upstreams: UpstreamPool
    resolutions: ClockCache[Resolution]

    def store_response(self, query: Query, response: Response) -> Resolution: ...

    def record_traffic(self, context: QueryContext, response: Response) -> None: ...

    def answer_resolved(self, context: QueryContext, resolution: Resolution, done: AnswerCallback) -> None: ...

    def answer_stale(self, context: QueryContext, resolution: Resolution, done: AnswerCallback, *, keep: bool) -> None: ...

    def answer_upstream_failure(self, context: QueryContext, fault: UpstreamError, done: AnswerCallback) -> None: ...

    def answer_internal_error(self, context: QueryContext, done: AnswerCallback) -> None: ...


class PendingQuery:
    """Waits for the upstreams on behalf of one client, and tells it once."""

    __slots__ = ("_context", "_deadline", "_done", "_key", "_old", "_resolver", "_upstreams")

    def __init__(self, resolver: MissHandler, context: QueryContext, done: AnswerCallback) -> None:
        self._resolver, self._context, self._done = resolver, context, done
        self._upstreams = resolver.upstreams
        self._key = resolution_key(context.query)
        self._old: Resolution | None = None
        self._deadline: DeadlineHandle | None = None

    def start(self) -> None:
        query, now = self._context.query, self._resolver.clocks.steady()
        known = self._resolver.resolutions.get(self._key, now)
        if known is not None and known.fresh_until > now:
            self._resolver.answer_resolved(self._context, known, self._done)
            return
        if known is not None and known.recheck_at > now:
            self._resolver.answer_stale(self._context, known, self._done, keep=True)
            return
        if known is not None:
            self._old = known
            self._deadline = self._upstreams.deadlines.after(STALE_ANSWER_DELAY, self._on_stale_delay)
        ask = UpstreamQuestion.of(query)
        if self._upstreams.is_echo(ask, query.data[HEADER : query.end]):
            self._on_outcome(UpstreamError("this question came back to who had asked it: resolvers ask each other in a loop"))
        else:
            self._upstreams.start(ask, self._on_outcome)

    def _on_stale_delay(self) -> None:
        """The upstreams are slow. Their answer will be kept when it comes, so this one is for this client only."""
        self._deadline = None
        if self._old is not None:
            self._resolver.answer_stale(self._context, self._old, self._finish, keep=False)

    def _on_outcome(self, outcome: UpstreamOutcome) -> None:
        if self._deadline is not None:
            self._upstreams.deadlines.cancel(self._deadline)
        try:
            self._conclude(outcome)
        except Exception:
            self._resolver.answer_internal_error(self._context, self._finish)

    def _conclude(self, outcome: UpstreamOutcome) -> None:
        told, here = self._done is _already_answered, self._resolver
        if isinstance(outcome, UpstreamError):
            old = None if is_bogus(outcome) else self._old
            if old is not None:
                old.recheck_at = here.clocks.steady() + STALE_TTL  # whether or not this client could wait for it
            if told:
                return
            if old is not None:
                here.answer_stale(self._context, old, self._finish, keep=True)
            else:
                here.answer_upstream_failure(self._context, outcome, self._finish)
            return
        here.record_traffic(self._context, outcome)
        now = here.clocks.steady()
        known = here.resolutions.get(self._key, now)
        if known is None or known.fresh_until <= now:  # else another who waited for the same was told a moment ago
            known = here.store_response(self._context.query, outcome)
        if not told:
            here.answer_resolved(self._context, known, self._finish)

    def _finish(self, answer: Answer) -> None:
        done, self._done = self._done, _already_answered
        done(answer)


def _already_answered(_answer: Answer) -> None:
    """Who has been told already."""


_MAX_TARGETS: Final = 256  # there are some twenty twins


class RewriteTargetCache:
    """Asks for them. What was said lately is kept for a day, and given where no upstream answers (RFC 8767)."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._kept: dict[bytes, tuple[float, Response]] = {}

    def forget(self) -> None:
        self._kept.clear()

    async def ask(self, upstreams: UpstreamPool, question: bytes) -> tuple[Response, bool]:
        """The answer, and whether it is an old one. Raises UpstreamError."""
        try:
            response = await upstreams.ask(UpstreamQuestion(question))
        except UpstreamError as fault:
            created_at, old = self._kept.get(question, (0.0, None))
            if old is None or is_bogus(fault) or self._steady() - created_at > STALE_SECONDS:
                raise
            return old, True
        if len(self._kept) >= _MAX_TARGETS:
            self._kept.clear()
        self._kept[question] = self._steady(), response
        return response, False
