"""Rewrites: a name is answered with the addresses of another name, such as an engine's safe search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answer_cache import Answer, AnswerCache, QueryContext
from hedgerow.dns.cache import STALE_SECONDS
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import Query
from hedgerow.policies.model import Decision, Verdict
from hedgerow.watched_tasks import note_unexpected

_TTL: Final = 300
_UNRESOLVED_SECONDS: Final = 10.0  # the lifetime of a block for want of a target
_MAX_TARGETS: Final = 256  # safe search has some twenty

type AnswerCallback = Callable[[Answer], None]


class Rewriter:
    """Answers to queries whose decision is to rewrite.

    Targets are kept for a day, for when no upstream answers (RFC 8767).
    """

    def __init__(self, cache: AnswerCache, clock: Callable[[], float]) -> None:
        self._cache, self._clock = cache, clock
        self._targets: dict[bytes, tuple[float, Response]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Forget the targets' answers, since other upstreams may give others."""
        self._targets.clear()

    def try_answer(self, context: QueryContext, decision: Decision) -> Answer | None:
        """Rewrite to an address, or to a name for types without addresses. None if an upstream must be asked."""
        target, query = decision.target, context.query
        try:
            draft = answers.addresses(query, (str(ip_address(target)),), _TTL)
        except ValueError:
            if query.qtype in (wire.A, wire.AAAA):
                return None
            draft = answers.rewritten(query, wire.name_of(target), None)
        return self._cache.build(context, decision, draft)

    def start(self, upstreams: UpstreamPool, context: QueryContext, decision: Decision, done: AnswerCallback) -> None:
        """Answer in a task, which may take two questions to upstreams. `done` is called once."""
        task = asyncio.get_running_loop().create_task(self._run(upstreams, context, decision, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self, upstreams: UpstreamPool, context: QueryContext, decision: Decision, done: AnswerCallback
    ) -> None:
        try:
            answer = self.try_answer(context, decision) or await self._resolve(upstreams, context, decision)
        except UpstreamError as error:
            answer = self._cache.build(context, decision, answers.failed(str(error), error.ede))
        except Exception:
            answer = internal_error(context.query)
        done(answer)

    async def _resolve(self, upstreams: UpstreamPool, context: QueryContext, decision: Decision) -> Answer:
        """Answer with a target's addresses under the queried name.

        A target that does not resolve blocks: it must not open the name.
        """
        query, target = context.query, wire.name_of(decision.target)
        response, is_stale = await self._ask(upstreams, target + query.suffix[:4])
        resolves = answers.has_type(response, query.qtype)
        if not resolves:
            other = wire.A if query.qtype == wire.AAAA else wire.AAAA
            other_response, _ = await self._ask(upstreams, target + pack("!HH", other, wire.IN))
            resolves = answers.has_type(other_response, other)
        if not resolves:
            blocked = Decision(Verdict.BLOCK, decision.reason, decision.what, decision.rule, decision.until)
            return self._cache.build_blocked(context, blocked, lifetime=_UNRESOLVED_SECONDS)
        draft = answers.rewritten(query, target, response)
        return self._cache.build(context, decision, answers.stale(draft, keep=True) if is_stale else draft)

    async def _ask(self, upstreams: UpstreamPool, question: bytes) -> tuple[Response, bool]:
        """Return the response and whether it is stale. Raises UpstreamError."""
        key = question + upstreams.key
        try:
            response = await upstreams.ask(UpstreamQuestion(question))
        except UpstreamError as fault:
            created_at, old = self._targets.get(key, (0.0, None))
            if old is None or fault.is_bogus or self._clock() - created_at > STALE_SECONDS:
                raise
            return old, True
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[key] = self._clock(), response
        return response, False


def internal_error(query: Query) -> Answer:
    """Log the current exception and return SERVFAIL."""
    note_unexpected("A query could not be answered")
    return Answer(answers.error(query.data, wire.SERVFAIL, query.end))
