"""The miss path: parse, judge, forward, judge what came back, remember.

What needs no upstream is answered at once (`Resolver.at_once`); what does is answered from the upstream's callback. Only rewrites, which
may need two questions, run as tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine
from ipaddress import ip_address
from struct import pack
from typing import Any, Final

from hedgerow.dns import answers, ddr, wire
from hedgerow.dns.answer_policy import TRUSTED, AnswerPolicy, Decide
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import NEVER, CacheEntry, ClockCache, Resolution, learn_suffix, resolution_key
from hedgerow.dns.metrics import SeriesTable, type_name
from hedgerow.dns.pending_query import Answer, AnswerCallback, Clocks, PendingQuery, QueryContext, RewriteTargetCache
from hedgerow.dns.private_networks import private_zone
from hedgerow.dns.special_names import NXDOMAIN_WHEN_BLOCKED, SpecialUse, special_use, special_use_answer
from hedgerow.dns.tunnel_detector import TunnelDetector
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.pool import UpstreamOutcome, UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import Malformed, Query
from hedgerow.policies.decide import WELCOME_REASONS
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.network import BlockedAnswer, ResolverSettings
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger(__name__)

MAX_ANSWERS: Final = 10_000
MAX_RESOLUTIONS: Final = 10_000
CACHE_OCTETS: Final = 20 << 20
_ANSWERS_SHARE: Final = 0.4  # of the cache; the rest is for what upstreams said
_PREFETCH_AT: Final = 0.9  # the part of its life after which a popular answer is asked for anew
_MIN_PREFETCH_LIFETIME: Final = 10.0  # seconds

_CANARY: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "canary")
_TUNNEL: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "tunnel")
_SPECIAL_USE: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
URL_ALLOWED: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
"""About a name whose page was judged and found open: what holds for it then is no answer for anybody else."""
_TRANSFERS: Final = (wire.IXFR, wire.AXFR)
_FORBIDDEN_TYPES: Final = (0, wire.OPT, 128, 249, 250)  # and NXNAME, TKEY, TSIG: not types that a question may have


class Resolver:
    """Answers queries under rulesets. Its sockets are those of its upstreams; close it to end them."""

    def __init__(
        self,
        upstreams: UpstreamPool,
        decide: Decide,
        *,
        clocks: Clocks | None = None,
        answer_policy: AnswerPolicy | None = None,
        cache_octets: int = CACHE_OCTETS,
    ) -> None:
        for_answers = int(cache_octets * _ANSWERS_SHARE)
        self.upstreams = upstreams
        self.clocks = clocks or Clocks()
        self.answers: ClockCache[CacheEntry] = ClockCache(MAX_ANSWERS, for_answers)
        self.resolutions: ClockCache[Resolution] = ClockCache(MAX_RESOLUTIONS, cache_octets - for_answers)
        self.suffixes: dict[bytes, bytes] = {}  # for datagrams: see `cache.learn_suffix`
        self._suffixes: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict, udp=self.suffixes)
        self._policy = answer_policy or AnswerPolicy(decide)
        self._tunnel_detector = TunnelDetector()
        self._rewrite_targets = RewriteTargetCache(self.clocks.steady)
        self._epoch = 0
        self._series = SeriesTable()
        self._tasks: set[asyncio.Task[None]] = set()

    def swap(self, decide: Decide, upstreams: UpstreamPool | None = None, answer_policy: AnswerPolicy | None = None) -> None:
        """A new snapshot: what was decided under the old one is forgotten, also by answers that are still on their way.

        What the upstreams said is kept unless there are new ones. The caller closes the old ones.
        """
        self._policy = answer_policy or AnswerPolicy(decide)
        self._epoch += 1
        self.answers.clear()
        if upstreams is not None:
            self.upstreams = upstreams
            self.resolutions.clear()
            self._rewrite_targets.forget()

    @property
    def decide(self) -> Decide:
        return self._policy.decide

    @property
    def settings(self) -> ResolverSettings:
        return self._policy.settings

    def suffixes_for(self, transport: str) -> dict[bytes, bytes]:
        """The table of `cache.learn_suffix` for what comes over a transport."""
        return self._suffixes[transport]

    def sweep(self, now: float, steps: int) -> None:
        """Forget what has expired; to be called about once a second."""
        self.answers.sweep(now, steps)
        self.resolutions.sweep(now, steps)

    def prefix(self, ruleset: Ruleset) -> bytes:
        """The first part of cache keys: ids of rulesets are unique within one snapshot only."""
        return pack("!II", self._epoch & 0xFFFFFFFF, ruleset.id)

    async def answer(self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str, decision: Decision | None = None) -> Answer:
        """The answer to one query, about whose name something may be decided already. Never raises for anything that a client or an
        upstream sent."""
        found = self.try_answer(ruleset, device, data, transport, decision)
        if isinstance(found, Answer):
            return found
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.forward(found, lambda done: None if answer.done() else answer.set_result(done))
        return await answer

    def try_answer(
        self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str, decision: Decision | None = None
    ) -> Answer | QueryContext:
        """The answer as far as no upstream is needed, else the case to be forwarded."""
        if len(data) < wire.HEADER or data[2] & 0x80:
            return Answer(None)  # nothing to answer to, or an answer itself: two servers must not answer each other for ever
        if data[2] & 0x78:
            return Answer(answers.error(data, wire.NOTIMP))
        try:
            query = wire.parse_query(data, transport)
        except Malformed:
            return Answer(answers.error(data, wire.FORMERR))
        refusal = _refusal(query)
        if refusal is not None:
            return Answer(answers.message(query, refusal))
        return self._answer_locally(ruleset, device, query, transport, decision)

    def forward(self, context: QueryContext, done: AnswerCallback) -> None:
        """Ask upstream and judge what comes back; `done` is called once."""
        if context.decision.verdict is Verdict.REWRITE:
            self._spawn(self._rewrite(context, context.decision, done))
            return
        PendingQuery(self, context, done).start()

    def prefetch(self, entry: CacheEntry) -> None:
        """Ask again for what will soon have expired and is still wanted; the answer waits among the resolutions."""
        if self.upstreams.is_busy:
            return
        query, upstreams = entry.query, self.upstreams

        def arrived(outcome: UpstreamOutcome) -> None:
            if isinstance(outcome, Response) and upstreams is self.upstreams:
                self.store_response(query, outcome)

        upstreams.start(UpstreamQuestion.of(query), arrived)

    def store_response(self, query: Query, response: Response) -> Resolution:
        """Keep what the upstreams said."""
        targets = answers.cname_chain(response, query.name)
        owners = {query.name, *targets}  # what strangers' records hold is left out, and need not be judged
        stands_for = (*targets, *answers.svcb_targets(response, owners))
        resolution = Resolution(
            answers.forwarded(query, response, targets),
            tuple(map(wire.host_of, stands_for)),
            responses.packed_addresses(response, owners),
            self.clocks.steady(),
            unfiltered=_with_ech(query, response, targets),
        )
        if resolution.draft.lifetime > 0:
            self.resolutions.put(resolution_key(query), resolution, resolution.created_at)
        return resolution

    def record_traffic(self, context: QueryContext, response: Response) -> None:
        """What a client sent out into the world, and what it got."""
        if _is_tunnel_checked(context):
            self._tunnel_detector.record(context.device, context.host, len(context.query.name) + len(response.data), self.clocks.steady())

    def answer_resolved(self, context: QueryContext, resolution: Resolution, done: AnswerCallback) -> None:
        """Judge what was found, and finish."""
        answer = self._answer_from(context, resolution)
        if isinstance(answer, Decision):
            self._spawn(self._rewrite(context, answer, done))
        else:
            done(answer)

    def answer_stale(self, context: QueryContext, resolution: Resolution, done: AnswerCallback, *, keep: bool) -> None:
        """The same with what was found some time ago, for want of better."""
        old = Resolution(answers.stale(resolution.draft, keep=keep), resolution.targets, resolution.addresses, self.clocks.steady())
        self.answer_resolved(context, old, done)

    def answer_upstream_failure(self, context: QueryContext, fault: UpstreamError, done: AnswerCallback) -> None:
        """Nobody answers, and nothing is known of it."""
        done(self._build_answer(context, context.decision, answers.failed(str(fault), fault.ede)))

    def answer_internal_error(self, context: QueryContext, done: AnswerCallback) -> None:
        """Something is wrong with ourselves."""
        log.exception("a query could not be answered")
        done(Answer(answers.error(context.query.data, wire.SERVFAIL, context.query.end)))

    def _answer_locally(
        self, ruleset: Ruleset, device: DeviceId, query: Query, transport: str, decided: Decision | None = None
    ) -> Answer | QueryContext:
        host, policy = query.host, self._policy
        reserved = special_use(host)
        if reserved is not None:
            context = QueryContext(ruleset, device, query, host, transport, _SPECIAL_USE, self.prefix(ruleset), policy)
            if host == ddr.DDR_NAME and policy.ddr is not None:
                return self._build_answer(context, _SPECIAL_USE, policy.ddr.answer(query))
            return self._build_answer(
                context, _CANARY if reserved is SpecialUse.CANARY else _SPECIAL_USE, special_use_answer(query, reserved)
            )
        decision = decided or policy.decide(ruleset, Request(device, RequestKind.DNS, host, dns_type=type_name(query.qtype)))
        context = QueryContext(ruleset, device, query, host, transport, decision, self.prefix(ruleset), policy)
        if decision.verdict is Verdict.BLOCK:
            return self._build_answer(context, decision, self._blocked(context, decision))
        record = policy.names.answer(host, query)
        if record is not None:
            return self._build_answer(context, decision, record)
        zone = private_zone(host)
        if zone is not None and not self.upstreams.may_ask(query.name):
            return self._build_answer(context, decision, answers.negative(wire.NOERROR if host == zone else wire.NXDOMAIN))
        if query.qtype == wire.ANY:
            return self._build_answer(context, decision, answers.minimal_any())
        if not query.data[2] & 1:
            return Answer(answers.message(query, Draft(wire.REFUSED)))  # no recursion wanted: nobody may look into the cache
        if decision.verdict is Verdict.REWRITE:
            return self._rewrite_at_once(context)
        now = self.clocks.steady()
        if _is_tunnel_checked(context) and self._tunnel_detector.is_blocked(device, host, now):
            return self._build_answer(
                context, _TUNNEL, self._blocked(context, _TUNNEL)._replace(lifetime=0.0)
            )  # others have the same ruleset
        known = self.resolutions.get(resolution_key(query), now)
        if known is None or known.fresh_until <= now:
            return context
        answer = self._answer_from(context, known)
        return context if isinstance(answer, Decision) else answer

    def _rewrite_at_once(self, context: QueryContext) -> Answer | QueryContext:
        target, query = context.decision.target, context.query
        try:
            ip_address(target)
        except ValueError:
            if query.qtype in (wire.A, wire.AAAA):
                return context
            return self._build_answer(context, context.decision, answers.rewritten(query, wire.name_of(target), None))
        return self._build_answer(context, context.decision, answers.addresses(query, (target,), 300))

    def _answer_from(self, context: QueryContext, resolution: Resolution) -> Answer | Decision:
        """The answer from what was found; the decision if that is to put another in its place."""
        policy = context.answer_policy
        kind = type_name(context.query.qtype)
        decision = policy.judge_resolution(context.ruleset, context.device, context.host, context.decision, resolution, kind)
        if decision.verdict is Verdict.REWRITE:
            return decision
        if decision.verdict is Verdict.BLOCK:
            return self._build_answer(context, decision, self._blocked(context, decision))
        draft = resolution.draft
        if resolution.unfiltered is not None and not policy.is_filtered(context.ruleset):
            draft = resolution.unfiltered
        return self._build_answer(context, decision, draft, resolution.created_at)

    def _blocked(self, context: QueryContext, decision: Decision) -> Draft:
        settings = context.answer_policy.settings
        how = settings.blocked_answer
        if context.host in NXDOMAIN_WHEN_BLOCKED:
            how = BlockedAnswer.NXDOMAIN
        elif how is BlockedAnswer.PAGE and not context.ruleset.trusts_ca and decision.reason not in WELCOME_REASONS:
            how = BlockedAnswer.ZERO  # the page's certificate would only frighten; whoever has nothing else is welcomed there by HTTP
        return answers.blocked(context.query, decision, how, settings.block_page)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rewrite(self, context: QueryContext, decision: Decision, done: AnswerCallback) -> None:
        try:
            decision, draft = await self._rewritten(context, decision)
        except UpstreamError as fault:
            draft = answers.failed(str(fault), fault.ede)
        except Exception:
            self.answer_internal_error(context, done)
            return
        done(self._build_answer(context, decision, draft))

    async def _rewritten(self, context: QueryContext, decision: Decision) -> tuple[Decision, Draft]:
        """The target's addresses under the asked name. A target that does not resolve blocks: it must not open what it guards."""
        query = context.query
        try:
            address = str(ip_address(decision.target))
        except ValueError:
            target = wire.name_of(decision.target)
        else:
            return decision, answers.addresses(query, (address,), 300)
        if query.qtype not in (wire.A, wire.AAAA):
            return decision, answers.rewritten(query, target, None)
        response, is_old = await self._rewrite_targets.ask(self.upstreams, target + query.suffix[:4])
        resolves = answers.has_type(response, query.qtype)
        if not resolves:
            other = wire.A if query.qtype == wire.AAAA else wire.AAAA
            resolves = answers.has_type((await self._rewrite_targets.ask(self.upstreams, target + pack("!HH", other, wire.IN)))[0], other)
        if resolves:
            draft = answers.rewritten(query, target, response)
            return decision, answers.stale(draft, keep=True) if is_old else draft
        blocked = Decision(Verdict.BLOCK, decision.reason, decision.what, decision.rule, decision.until)
        return blocked, self._blocked(context, blocked)._replace(lifetime=10.0)

    def _build_answer(self, context: QueryContext, decision: Decision, draft: Draft, created_at: float | None = None) -> Answer:
        """Render for this asker and remember, unless the draft is not to be kept."""
        query = context.query
        now = self.clocks.steady()
        until = _earliest(context.ruleset.until, decision.until)
        key = context.prefix + query.key
        entry = CacheEntry(
            answers.render(query, draft),
            draft,
            created_at=now if created_at is None else created_at,
            until=NEVER if until is NEVER else now + (until - self.clocks.wall()),
            key=key,
            decision=decision,
            series=self._series.of(decision, context.transport, query.qtype, context.ruleset.profile),
        )
        if query.cacheable and created_at is not None and entry.expires - created_at >= _MIN_PREFETCH_LIFETIME:
            entry.prefetch_at = created_at + _PREFETCH_AT * (entry.expires - created_at)
        entry.refresh(now)
        if query.cacheable and entry.expires > now and context.decision is not URL_ALLOWED:
            self.answers.put(key, entry, now)
            learn_suffix(self.suffixes_for(context.transport), query)
        return Answer(entry.message(query.data, query.end), entry)


def _refusal(query: Query) -> Draft | None:
    """What is wrong with the question as such."""
    if query.edns is not None and query.edns.version != 0:
        return Draft(wire.BADVERS)
    if query.qtype in _FORBIDDEN_TYPES:
        return Draft(wire.FORMERR)
    if query.qclass != wire.IN or query.qtype in _TRANSFERS:
        return Draft(wire.REFUSED)
    return None


def _is_tunnel_checked(context: QueryContext) -> bool:
    """Whether whoever asks is to be kept from tunnels, and has not been allowed this name."""
    return bool(context.ruleset.rules.bypass) and context.decision.reason not in TRUSTED


def _with_ech(query: Query, response: Response, targets: tuple[bytes, ...]) -> Draft | None:
    if query.qtype not in (wire.SVCB, wire.HTTPS) or not answers.has_ech(response):
        return None
    return answers.forwarded(query, response, targets, keep_ech=True)


def _earliest(*instants: float | None) -> float:
    return min((instant for instant in instants if instant is not None), default=NEVER)
