"""The pool of upstreams: their order, their deadlines, and one query in flight per question.

An `_UpstreamQuery` is one question with all its callers; an `_Attempt` is one channel asked once for it. Nothing here
is a task: at thousands of questions per second the loop's bookkeeping would cost more than the questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.health import Outage, UpstreamHealth, order_channels
from hedgerow.dns.upstreams.in_flight import DeadlineHandle, Deadlines, RandomOctets
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.trust import ValidatingUpstreams
from hedgerow.dns.upstreams.upstream import Channel, UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import Malformed
from hedgerow.policies.network import UpstreamStrategy
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger(__name__)

_ATTEMPT_SECONDS: Final = (1.0, 1.5, 2.0)  # together less than the five seconds that a stub resolver waits
_OUTAGE_SECONDS: Final = 1.5  # until a client learns that no upstream answers, if that was so a moment ago
# beyond three times what upstreams that failed last usually took, once another one has refused a question
_REFUSED_SECONDS: Final = 0.1
_LOGGED_FAILURES: Final = 3  # in a row; fewer are normal
_MAX_IN_FLIGHT: Final = 4096

type UpstreamOutcome = Response | UpstreamError
type OutcomeCallback = Callable[[UpstreamOutcome], None]
type AttemptObserver = Callable[[str, str, float], None]
"""Called for each attempt with the upstream, "answered", "refused", "timeout" or "error", and the seconds it took."""


class AsyncClosable(Protocol):
    """A resource that is closed with the upstreams."""

    async def close(self) -> None: ...


class UpstreamPool:
    """Channels, asked by a strategy. A channel that failed is asked last for a while.

    `secure_only`: ask only channels that are secure and prove that they validate DNSSEC. Names beneath one of `zones`
    are asked only of its pool: the names of this network stay in it. `is_internal`: all channels lead into this
    network. `options`: EDNS options for every question except those for zones. `others` are pools of clients with
    upstreams of their own, by the upstreams' names; they close with this one. `key` tells a client's pool from others.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        count: AttemptObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        bootstrap: AsyncClosable | None = None,
        *,
        strategy: UpstreamStrategy = UpstreamStrategy.STRICT,
        secure_only: bool = False,
        zones: Mapping[str, UpstreamPool] | None = None,
        is_internal: bool = False,
        options: bytes = b"",
        others: Mapping[tuple[str, ...], UpstreamPool] | None = None,
        key: bytes = b"",
    ) -> None:
        self.others, self.key = dict(others or {}), key
        self._is_internal = is_internal
        self._options = options
        self.zones = {wire.name_of(zone): upstreams for zone, upstreams in (zones or {}).items()}
        self.names = tuple(channel.name for channel in channels)
        self.strategy = strategy
        self.clock = clock
        self.count: AttemptObserver = count or (lambda _name, _outcome, _seconds: None)
        self.deadlines = Deadlines()
        self.random = RandomOctets()
        self.health = {channel.name: UpstreamHealth() for channel in channels}
        self._channels = tuple(channels)
        self._usable = () if secure_only else tuple(channels)
        self._bootstrap = bootstrap
        self._validators = (
            ValidatingUpstreams([channel for channel in channels if channel.secure], clock) if secure_only else None
        )
        self._held: list[tuple[UpstreamQuestion, OutcomeCallback]] = []  # until the validating upstreams are known
        self._in_flight: dict[UpstreamQuestion, _UpstreamQuery] = {}
        self._idle: asyncio.Future[None] | None = None
        self.outage = Outage(self.deadlines, self._on_outage)

    def is_down(self, question: bytes) -> bool:
        """Return whether no upstream for a question answered the last one that was asked."""
        pool = (self.zone_pool(question) if self.zones else None) or self
        return pool.outage.is_on

    def suspect_outage(self, began: float) -> None:
        """Find out whether any upstream answers, since a question that `began` then got no answer in time."""
        self.outage.suspect(began, self._usable, self.health)

    def _on_outage(self) -> None:
        for query in tuple(self._in_flight.values()):
            query.expect_outage()

    def start(self, question: UpstreamQuestion, callback: OutcomeCallback) -> None:
        """Call `callback` once with the first good answer or an UpstreamError, within the time of all attempts, perhaps
        at once.
        """
        if self.zones and (elsewhere := self.zone_pool(question.question)) is not None:
            elsewhere.start(question, callback)
            return
        question = _with_options(question, self._options)
        if self._validators is not None:
            question = question._replace(checking_disabled=False)  # unchecked answers are not available here
            if self._validators.is_due and len(self._held) < _MAX_IN_FLIGHT:
                self._validators.check_upstreams(self._start_held)
                if not self._usable:
                    self._held.append((question, callback))
                    return
        self._start(question, callback)

    def _start_held(self) -> None:
        held, self._held = self._held, []
        validators = self._validators
        assert validators is not None
        self._usable = tuple(channel for channel in self._channels if channel.name in validators.names)
        for question, callback in held:
            self._start(question, callback)

    def _start(self, question: UpstreamQuestion, callback: OutcomeCallback) -> None:
        query = self._in_flight.get(question)
        if query is not None and query.has_failed:
            callback(query.refusal or UpstreamError(self.no_answer))
        elif query is not None:
            query.callbacks.append(callback)
        elif len(self._in_flight) >= _MAX_IN_FLIGHT:
            callback(UpstreamError("too many questions in flight"))
        else:
            query = self._in_flight[question] = _UpstreamQuery(
                self, question, callback, order_channels(self._usable, self.health, self.strategy, self.clock())
            )
            query.next_round()

    async def ask(self, question: UpstreamQuestion) -> Response:
        """Return the first good answer, like `start`, but wait for it. Raises UpstreamError."""
        answer: asyncio.Future[UpstreamOutcome] = asyncio.get_running_loop().create_future()

        def callback(outcome: UpstreamOutcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.start(question, callback)
        outcome = await answer
        if isinstance(outcome, UpstreamError):
            raise outcome
        return outcome

    def is_echo(self, question: UpstreamQuestion, written: bytes) -> bool:
        """Return whether this is one of our own questions sent back to us, recognised by its random spelling if it has
        one.
        """
        if written == question.question:
            return False
        query = self._in_flight.get(_with_options(question, self._options))
        return query is not None and query.written == written

    @property
    def no_answer(self) -> str:
        """The reason why no upstream answered."""
        if not self.names:
            return "no upstream is configured"
        return "no upstream answered" if self._usable else "no upstream proves that it validates DNSSEC"

    @property
    def is_busy(self) -> bool:
        """True if there is no capacity for prefetching."""
        return len(self._in_flight) > _MAX_IN_FLIGHT // 8

    def query_finished(self, question: UpstreamQuestion) -> None:
        """Forget a question that is over."""
        del self._in_flight[question]
        if self._idle is not None and not self._in_flight and not self._idle.done():
            self._idle.set_result(None)

    async def close(self, grace: float = 0.0) -> None:
        """Close all sockets. Questions in flight get `grace` seconds."""
        if self._in_flight and grace:
            self._idle = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._idle
        if self._validators is not None:
            await self._validators.close()
        for _, callback in self._held:
            callback(UpstreamError("closed"))
        self._held.clear()
        for query in tuple(self._in_flight.values()):
            query.finish(UpstreamError("closed"))
        self.deadlines.close()
        for channel in self._channels:
            with contextlib.suppress(OSError):
                await channel.close()
        if self._bootstrap is not None:
            await self._bootstrap.close()
        for upstreams in {*self.zones.values(), *self.others.values()}:
            await upstreams.close()

    def may_ask(self, name: bytes) -> bool:
        """Return whether a name of this network, in wire form, may be asked of any upstream."""
        return self._is_internal or (bool(self.zones) and self.zone_pool(name + bytes(4)) is not None)

    def zone_pool(self, question: bytes) -> UpstreamPool | None:
        """Return the pool of the smallest forwarded zone that the name is in."""
        at, end = 0, len(question) - 4
        while at < end:
            found = self.zones.get(question[at:end])
            if found is not None:
                return found
            at += 1 + question[at]
        return None


class _UpstreamQuery:
    """One question: the rounds of channels still to ask, and the attempts in flight."""

    __slots__ = (
        "callbacks",
        "deadline",
        "has_failed",
        "late",
        "open",
        "question",
        "refusal",
        "round",
        "rounds",
        "upstreams",
        "written",
    )

    def __init__(
        self,
        upstreams: UpstreamPool,
        question: UpstreamQuestion,
        callback: OutcomeCallback,
        rounds: list[list[Channel]],
    ) -> None:
        self.upstreams, self.question, self.rounds = upstreams, question, rounds
        self.written = question.in_random_case(upstreams.random)
        self.callbacks = [callback]
        self.open: list[_Attempt] = []
        self.late: list[_Attempt] = []  # timed out, but an answer still counts
        self.round = 0
        self.refusal: UpstreamError | None = None
        # the callers know that no upstream answers; an answer still shows that the outage is over
        self.has_failed = False
        self.deadline = upstreams.deadlines.after(_OUTAGE_SECONDS, self._fail) if upstreams.outage.is_on else None

    def next_round(self) -> None:
        """Start the next round, or finish."""
        while not self.open and (
            self.callbacks or self.has_failed
        ):  # an attempt that fails at once calls this again, and may have finished the query
            if not self.rounds or self.round >= len(_ATTEMPT_SECONDS):
                self.upstreams.outage.is_on = self.refusal is None
                self.finish(self.refusal or UpstreamError(self.upstreams.no_answer))
                return
            channels = self.rounds.pop(0)
            seconds = _ATTEMPT_SECONDS[self.round]
            self.round += 1
            self.open = [_Attempt(self, channel, seconds) for channel in channels]
            for attempt in tuple(self.open):
                if attempt in self.open:
                    attempt.begin()

    def failed(self, attempt: _Attempt, *, again: bool) -> None:
        """Handle an attempt without result. `again`: asking the channel once more could help."""
        self.open.remove(attempt)
        if again:
            self.rounds.append([attempt.channel])
        self._expect_refusal()
        self.next_round()

    def _expect_refusal(self) -> None:
        """Tell the callers soon that an upstream has refused, if those that are left to ask failed last."""
        health = [
            self.upstreams.health[channel.name]
            for channels in ([attempt.channel for attempt in self.open], *self.rounds)
            for channel in channels
        ]
        if self.refusal is not None and self.deadline is None and all(each.fails for each in health):
            self.deadline = self.upstreams.deadlines.after(
                _REFUSED_SECONDS + max([3 * each.seconds for each in health], default=0.0), self._fail
            )

    def expect_outage(self) -> None:
        """Give up soon, or at once if an attempt has failed already."""
        if self.deadline is None and not self.has_failed:
            self.deadline = self.upstreams.deadlines.after(0.0 if self.round > 1 else _OUTAGE_SECONDS, self._fail)

    def _fail(self) -> None:
        """Tell the callers that no upstream answers, or that one refuses, and go on without them."""
        self.deadline = None
        self.has_failed = True
        self._report(self.refusal or UpstreamError(self.upstreams.no_answer))

    def finish(self, outcome: UpstreamOutcome) -> None:
        if self.deadline is not None:
            self.upstreams.deadlines.cancel(self.deadline)
        self.has_failed = False
        for attempt in (*self.open, *self.late):
            attempt.drop()
        self.open, self.late = [], []
        self.rounds = []
        self.upstreams.query_finished(self.question)
        self._report(outcome)

    def _report(self, outcome: UpstreamOutcome) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            try:
                callback(outcome)
            except Exception:  # the others still wait
                note_unexpected("An answer of the upstreams could not be passed on")


class _Attempt:
    """One channel, asked once."""

    __slots__ = ("began", "cancel", "channel", "deadline", "query", "seconds")

    def __init__(self, query: _UpstreamQuery, channel: Channel, seconds: float) -> None:
        self.query, self.channel, self.seconds = query, channel, seconds
        self.began = query.upstreams.clock()
        self.cancel: Callable[[], None] | None = None
        self.deadline: DeadlineHandle | None = None

    def begin(self) -> None:
        upstreams = self.query.upstreams
        upstreams.health[self.channel.name].asked(self.began, self.seconds)
        try:
            self.cancel = self.channel.send(self.query.question, self.query.written, self._on_message)
        except OSError as fault:
            self._failed("error", str(fault))
        else:
            self.deadline = upstreams.deadlines.after(self.seconds, self._on_timeout)

    def drop(self) -> None:
        """Cancel: another attempt won, or no client is waiting."""
        if self.deadline is not None:
            self.query.upstreams.deadlines.cancel(self.deadline)
        if self.cancel is not None:
            self.cancel()

    def _on_timeout(self) -> None:
        self.deadline = None
        if self.channel.accepts_late_answers:
            self.query.late.append(self)
        else:
            self.drop()
        self._failed("timeout", "no answer in time")
        self.query.upstreams.suspect_outage(self.began)

    def _on_message(self, message: bytes | Exception) -> None:
        self.cancel = None
        self.drop()
        query = self.query
        is_late = self in query.late
        if is_late:
            query.late.remove(self)
        if isinstance(message, Exception) or responses.is_truncated(message):  # over UDP it was repeated over TCP
            self._failed("error", str(message) if isinstance(message, Exception) else "truncated", is_late=is_late)
            return
        try:
            response = responses.parse_response(message, query.question.question, checked=True)
        except Malformed as fault:
            self._failed("error", str(fault), is_late=is_late)
            return
        upstreams, now = query.upstreams, query.upstreams.clock()
        took = now - self.began
        upstreams.outage.note_answer(now)
        if response.rcode in (wire.NOERROR, wire.NXDOMAIN):
            health = upstreams.health[self.channel.name]
            if health.fails >= _LOGGED_FAILURES:
                log.info("The upstream %s answers again", self.channel.name)
            health.answered(took)
            upstreams.count(self.channel.name, "answered", took)
            if not is_late:
                query.open.remove(self)
            # On the way from an upstream in plain text anybody could have set the AD bit.
            query.finish(response if self.channel.secure else response._replace(authentic=False))
            return
        if is_late:
            return  # another attempt is in flight, and will get the same answer
        upstreams.count(self.channel.name, "refused", took)
        query.refusal = _upstream_refusal(response)
        if query.refusal.is_bogus:
            query.open.remove(self)
            query.finish(query.refusal)  # upstreams that do not validate must not be asked for a forged name
        else:
            query.failed(self, again=False)  # asking it again would not help, asking another one may

    def _failed(self, outcome: str, why: str, *, is_late: bool = False) -> None:
        if is_late:
            return  # it counts as failed already
        upstreams = self.query.upstreams
        now = upstreams.clock()
        health = upstreams.health[self.channel.name]
        before = health.fails
        health.failed(now, self.began)
        if before < _LOGGED_FAILURES == health.fails:
            log.warning(
                "The upstream %s does not answer: %s", self.channel.name, why.removeprefix(f"{self.channel.name}: ")
            )
        upstreams.count(self.channel.name, outcome, now - self.began)
        self.query.failed(self, again=True)


def _with_options(question: UpstreamQuestion, options: bytes) -> UpstreamQuestion:
    return question._replace(options=options) if options else question


def _upstream_refusal(response: Response) -> UpstreamError:
    text = {wire.SERVFAIL: "failed", wire.REFUSED: "refuses"}.get(response.rcode, f"answers with code {response.rcode}")
    rcode = wire.NOTIMP if response.rcode == wire.NOTIMP else wire.SERVFAIL
    return UpstreamError(f"the upstream {text}", responses.extended_error(response), rcode)
