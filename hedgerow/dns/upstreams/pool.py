"""Asks the upstreams: whom first, whom next, for how long; and never the same thing twice at a time.

An `Inquiry` is one question with all who wait for it; an `Attempt` is one channel asked once for it. Nothing here is a task: at
thousands of questions a second the loop's bookkeeping would cost more than the questions.
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
from hedgerow.dns.upstreams.in_flight import DeadlineHandle, Deadlines, RandomOctets
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.trust import ValidatingUpstreams
from hedgerow.dns.upstreams.upstream import Channel, UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import Malformed
from hedgerow.policies.network import UpstreamStrategy

log = logging.getLogger(__name__)

_ATTEMPT_SECONDS: Final = (1.0, 1.5, 2.0)  # in all less than the five seconds that a stub resolver waits
_MIN_BACKOFF_SECONDS: Final = 1.0  # how long an upstream that failed is asked last: one datagram may be lost,
_MAX_BACKOFF_SECONDS: Final = 60.0  # but who fails again and again rests longer each time
_LOGGED_FAILURES: Final = 3  # in a row; fewer are everyday
_PROBE_INTERVAL: Final = 30.0  # how old the measured time of an upstream may be before it is asked again beside the fastest
_MAX_PARALLEL: Final = 3  # upstreams that are asked in parallel
_MAX_IN_FLIGHT: Final = 4096
_BOGUS: Final = frozenset((1, 2, *range(5, 13)))  # extended errors that say: DNSSEC validation has failed (RFC 8914)

type UpstreamOutcome = Response | UpstreamError
type OutcomeCallback = Callable[[UpstreamOutcome], None]
type AttemptObserver = Callable[[str, str, float], None]
"""Told of each attempt: the upstream, "answered", "refused", "timeout" or "error", and the seconds that it took."""


class AsyncClosable(Protocol):
    """What ends with the upstreams that were made with it."""

    async def close(self) -> None: ...


class _UpstreamHealth:
    """How a channel has done lately."""

    __slots__ = ("asked_at", "backoff_until", "failed_at", "fails", "seconds")

    def __init__(self) -> None:
        self.fails = 0
        self.backoff_until = 0.0
        self.seconds = 0.0  # smoothed; 0 is not known yet, so that each is tried
        self.asked_at = self.failed_at = float("-inf")

    def asked(self, now: float, seconds: float) -> None:
        """It has so long to answer. Where it failed before, the others need not wait meanwhile to see whether it is there again."""
        self.asked_at = now
        if self.fails:
            self.backoff_until = max(self.backoff_until, now + seconds)

    def failed(self, now: float, began: float) -> None:
        """An attempt that `began` then brought nothing. What was asked before the last failure was seen has failed of the same."""
        if began >= self.failed_at:
            self.failed_at = now
            self.backoff_until = now + min(_MIN_BACKOFF_SECONDS * 2**self.fails, _MAX_BACKOFF_SECONDS)
            self.fails = min(self.fails + 1, 10)

    def answered(self, seconds: float) -> None:
        self.fails, self.backoff_until = 0, 0.0
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds


class UpstreamPool:
    """Asks the channels by a strategy; who failed is asked last for a while. With `secure_only` none are asked but those that are secure
    and prove that they validate DNSSEC.

    Names beneath one of `zones` are asked of its upstreams, and of nobody else: what is of this network stays in it. `is_inner`: all
    channels lead into this network. `options`: EDNS options that go with every question, but not with those of the zones.
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
    ) -> None:
        self._is_internal = is_internal
        self._options = options
        self.zones = {wire.name_of(zone): upstreams for zone, upstreams in (zones or {}).items()}
        self.names = tuple(channel.name for channel in channels)
        self.strategy = strategy
        self.clock = clock
        self.count = count or _count_nothing
        self.deadlines = Deadlines()
        self.random = RandomOctets()
        self.health = {channel.name: _UpstreamHealth() for channel in channels}
        self._channels = tuple(channels)
        self._usable = () if secure_only else tuple(channels)
        self._bootstrap = bootstrap
        self._validators = ValidatingUpstreams([channel for channel in channels if channel.secure], clock) if secure_only else None
        self._held: list[tuple[UpstreamQuestion, OutcomeCallback]] = []  # until it is known who validates
        self._in_flight: dict[UpstreamQuestion, _UpstreamQuery] = {}
        self._idle: asyncio.Future[None] | None = None

    def start(self, ask: UpstreamQuestion, callback: OutcomeCallback) -> None:
        """`hear` gets the first good answer, or an UpstreamError when nobody gives one; never later than the attempts together.

        It may be called at once, when there is nobody to ask.
        """
        if self.zones and (elsewhere := self._zone_pool(ask.question)) is not None:
            elsewhere.start(ask, callback)
            return
        ask = self._with_options(ask)
        if self._validators is not None:
            ask = ask._replace(checking_disabled=False)  # who wants answers unchecked cannot have them here
            if self._validators.is_due and len(self._held) < _MAX_IN_FLIGHT:
                self._validators.prove(self._start_held)
                if not self._usable:
                    self._held.append((ask, callback))
                    return
        self._start(ask, callback)

    def _with_options(self, ask: UpstreamQuestion) -> UpstreamQuestion:
        return ask._replace(options=self._options) if self._options else ask

    def _start_held(self) -> None:
        held, self._held = self._held, []
        validators = self._validators
        assert validators is not None
        self._usable = tuple(channel for channel in self._channels if channel.name in validators.names)
        for ask, callback in held:
            self._start(ask, callback)

    def _start(self, ask: UpstreamQuestion, callback: OutcomeCallback) -> None:
        inquiry = self._in_flight.get(ask)
        if inquiry is not None:
            inquiry.callbacks.append(callback)
        elif len(self._in_flight) >= _MAX_IN_FLIGHT:
            callback(UpstreamError("too many questions in flight"))
        else:
            inquiry = self._in_flight[ask] = _UpstreamQuery(self, ask, callback, self._order())
            inquiry.next_round()

    async def ask(self, ask: UpstreamQuestion) -> Response:
        """The same for who can wait. Raises UpstreamError."""
        answer: asyncio.Future[UpstreamOutcome] = asyncio.get_running_loop().create_future()

        def callback(outcome: UpstreamOutcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.start(ask, callback)
        outcome = await answer
        if isinstance(outcome, UpstreamError):
            raise outcome
        return outcome

    def is_echo(self, ask: UpstreamQuestion, written: bytes) -> bool:
        """Is this question one of our own, come back to us? The letters in which we wrote it tell, if they are not the plain ones."""
        inquiry = self._in_flight.get(self._with_options(ask))
        return inquiry is not None and inquiry.written == written != ask.question

    @property
    def no_answer(self) -> str:
        """What to say where nobody has answered."""
        if not self.names:
            return "no upstream is configured"
        return "no upstream answered" if self._usable else "no upstream proves that it validates DNSSEC"

    @property
    def is_busy(self) -> bool:
        """Too much for questions that only save time later."""
        return len(self._in_flight) > _MAX_IN_FLIGHT // 8

    def query_finished(self, ask: UpstreamQuestion) -> None:
        """An inquiry is over."""
        del self._in_flight[ask]
        if self._idle is not None and not self._in_flight and not self._idle.done():
            self._idle.set_result(None)

    async def close(self, grace: float = 0.0) -> None:
        """End all sockets; questions in flight get `grace` seconds."""
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
        for inquiry in tuple(self._in_flight.values()):
            inquiry.finish(UpstreamError("closed"))
        self.deadlines.close()
        for channel in self._channels:
            with contextlib.suppress(OSError):
                await channel.close()
        if self._bootstrap is not None:
            await self._bootstrap.close()
        for upstreams in set(self.zones.values()):
            await upstreams.close()

    def may_ask(self, name: bytes) -> bool:
        """May a name that belongs into this network, in wire form, be asked of anybody?"""
        return self._is_internal or (bool(self.zones) and self._zone_pool(name + bytes(4)) is not None)

    def _zone_pool(self, question: bytes) -> UpstreamPool | None:
        """Those who know the smallest zone that the name is in, if one is forwarded elsewhere."""
        at, end = 0, len(question) - 4
        while at < end:
            found = self.zones.get(question[at:end])
            if found is not None:
                return found
            at += 1 + question[at]
        return None

    def _order(self) -> list[list[Channel]]:
        """Whom to ask at once, whom after that, and so on."""
        now = self.clock()
        available = [channel for channel in self._usable if self.health[channel.name].backoff_until <= now]
        backing_off = [channel for channel in self._usable if channel not in available] if len(available) < len(self._usable) else []
        match self.strategy:
            case UpstreamStrategy.PARALLEL:
                rounds = [available[:_MAX_PARALLEL], *([channel] for channel in available[_MAX_PARALLEL:])] if available else []
            case UpstreamStrategy.FASTEST if available:
                available.sort(key=self._speed)
                old = [channel for channel in available[1:] if now - self.health[channel.name].asked_at > _PROBE_INTERVAL]
                rounds = [[available[0], *old[:1]], *([channel] for channel in available[1:] if channel not in old[:1])]
            case _:
                rounds = [[channel] for channel in available]
        return rounds + [[channel] for channel in backing_off]

    def _speed(self, channel: Channel) -> tuple[bool, float]:
        """Who failed last is only tried beside others, however fast it was; so is who was asked and has not answered yet."""
        health = self.health[channel.name]
        is_new = health.asked_at == float("-inf")
        return health.fails > 0, health.seconds or (0.0 if is_new else float("inf"))


class _UpstreamQuery:
    """One question, the rounds of channels that are still to be asked, and the attempts that are under way."""

    __slots__ = ("ask", "callbacks", "late", "open", "refusal", "round", "rounds", "upstreams", "written")

    def __init__(self, upstreams: UpstreamPool, ask: UpstreamQuestion, callback: OutcomeCallback, rounds: list[list[Channel]]) -> None:
        self.upstreams, self.ask, self.rounds = upstreams, ask, rounds
        self.written = ask.in_random_case(upstreams.random)
        self.callbacks = [callback]
        self.open: list[_Attempt] = []
        self.late: list[_Attempt] = []  # whose time is up, but whose answer would still be welcome
        self.round = 0
        self.refusal: UpstreamError | None = None

    def next_round(self) -> None:
        """The next round, or the end."""
        while not self.open and self.callbacks:  # an attempt that fails at once goes on by itself, and may have ended the inquiry
            if not self.rounds or self.round >= len(_ATTEMPT_SECONDS):
                words = self.upstreams.no_answer
                self.finish(self.refusal or UpstreamError(words))
                return
            channels = self.rounds.pop(0)
            seconds = _ATTEMPT_SECONDS[self.round]
            self.round += 1
            self.open = [_Attempt(self, channel, seconds) for channel in channels]
            for attempt in tuple(self.open):
                if attempt in self.open:
                    attempt.begin()

    def failed(self, attempt: _Attempt, *, again: bool) -> None:
        """An attempt brought nothing; `again` says whether asking the channel once more could help."""
        self.open.remove(attempt)
        if again:
            self.rounds.append([attempt.channel])
        self.next_round()

    def finish(self, outcome: UpstreamOutcome) -> None:
        for attempt in (*self.open, *self.late):
            attempt.drop()
        self.open, self.late = [], []
        self.rounds = []
        self.upstreams.query_finished(self.ask)
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            try:
                callback(outcome)
            except Exception:  # the others still wait
                log.exception("An answer of the upstreams could not be passed on")


class _Attempt:
    """One channel asked once."""

    __slots__ = ("began", "cancel", "channel", "deadline", "inquiry", "seconds")

    def __init__(self, inquiry: _UpstreamQuery, channel: Channel, seconds: float) -> None:
        self.inquiry, self.channel, self.seconds = inquiry, channel, seconds
        self.began = inquiry.upstreams.clock()
        self.cancel: Callable[[], None] | None = None
        self.deadline: DeadlineHandle | None = None

    def begin(self) -> None:
        upstreams = self.inquiry.upstreams
        upstreams.health[self.channel.name].asked(self.began, self.seconds)
        try:
            self.cancel = self.channel.send(self.inquiry.ask, self.inquiry.written, self._on_message)
        except OSError as fault:
            self._failed("error", str(fault))
        else:
            self.deadline = upstreams.deadlines.after(self.seconds, self._on_timeout)

    def drop(self) -> None:
        """Somebody else was faster, or nobody wants to know any more."""
        if self.deadline is not None:
            self.inquiry.upstreams.deadlines.cancel(self.deadline)
        if self.cancel is not None:
            self.cancel()

    def _on_timeout(self) -> None:
        self.deadline = None
        if self.channel.accepts_late_answers:
            self.inquiry.late.append(self)
        else:
            self.drop()
        self._failed("timeout", "nothing came in time")

    def _on_message(self, message: bytes | Exception) -> None:
        self.cancel = None
        self.drop()
        inquiry = self.inquiry
        is_late = self in inquiry.late
        if is_late:
            inquiry.late.remove(self)
        if isinstance(message, Exception) or responses.is_truncated(message):  # over UDP it was asked again over TCP
            self._failed("error", str(message) if isinstance(message, Exception) else "cut short", is_late=is_late)
            return
        try:
            response = responses.parse_response(message, inquiry.ask.question, checked=True)
        except Malformed as fault:
            self._failed("error", str(fault), is_late=is_late)
            return
        upstreams, took = inquiry.upstreams, inquiry.upstreams.clock() - self.began
        if response.rcode in (wire.NOERROR, wire.NXDOMAIN):
            health = upstreams.health[self.channel.name]
            if health.fails >= _LOGGED_FAILURES:
                log.info("the upstream %s answers again", self.channel.name)
            health.answered(took)
            upstreams.count(self.channel.name, "answered", took)
            if not is_late:
                inquiry.open.remove(self)
            # Whoever is between us and it could have set the AD bit of an upstream that is asked in the clear.
            inquiry.finish(response if self.channel.secure else response._replace(authentic=False))
            return
        if is_late:
            return  # another attempt is under way, and will hear the same
        upstreams.count(self.channel.name, "refused", took)
        inquiry.refusal = _upstream_refusal(response)
        if inquiry.refusal.ede in _BOGUS:
            inquiry.open.remove(self)
            inquiry.finish(inquiry.refusal)  # who does not validate must not be asked for what is forged
        else:
            inquiry.failed(self, again=False)  # it has spoken: asking it again would not help, asking another may

    def _failed(self, outcome: str, why: str, *, is_late: bool = False) -> None:
        if is_late:
            return  # it has failed already
        upstreams = self.inquiry.upstreams
        now = upstreams.clock()
        health = upstreams.health[self.channel.name]
        before = health.fails
        health.failed(now, self.began)
        if before < _LOGGED_FAILURES == health.fails:
            log.warning("the upstream %s does not answer: %s", self.channel.name, why.removeprefix(f"{self.channel.name}: "))
        upstreams.count(self.channel.name, outcome, now - self.began)
        self.inquiry.failed(self, again=True)


def is_bogus(fault: UpstreamError) -> bool:
    """Has an upstream found the answer to be forged, or not provably right?"""
    return fault.ede in _BOGUS


def _upstream_refusal(response: Response) -> UpstreamError:
    words = {wire.SERVFAIL: "failed", wire.REFUSED: "refuses"}.get(response.rcode, f"answers with code {response.rcode}")
    return UpstreamError(f"the upstream {words}", responses.extended_error(response))


def _count_nothing(_name: str, _outcome: str, _seconds: float) -> None:
    return
