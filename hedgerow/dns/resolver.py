"""The miss path: parse a query, decide, ask the upstreams, judge their answer, keep it.

A query that needs no upstream is answered at once (`Resolver.try_answer`), the others from the upstream's callback.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, assert_never

from hedgerow.dns import answers, wire
from hedgerow.dns.aliases import start_following
from hedgerow.dns.answer_cache import Answer, AnswerCache, Clocks, QueryContext
from hedgerow.dns.answer_policy import TRUSTED, AnswerPolicy, Decide
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import RULESET_OCTETS, CacheEntry, ClockCache, Resolution, resolution_key
from hedgerow.dns.metrics import type_name
from hedgerow.dns.pending_query import Failed, Fresh, Outcome, PendingQuery, Stale
from hedgerow.dns.private_networks import private_zone
from hedgerow.dns.rewriter import AnswerCallback, Rewriter, internal_error
from hedgerow.dns.special_names import DDR_NAME, OWN_NAME_TTL, SpecialUse, special_use, special_use_answer
from hedgerow.dns.tunnel_detector import TunnelDetector
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.pool import UpstreamOutcome, UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamQuestion
from hedgerow.dns.wire import Malformed, Query
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.network import ResolverSettings
from hedgerow.policies.ruleset import Ruleset

CACHE_OCTETS: Final = 20 << 20
_ANSWERS_SHARE: Final = 0.45  # of the cache; the rest is for resolutions, of which a name that is allowed has one

_CANARY: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "canary")
_TUNNEL: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "tunnel")
_SPECIAL_USE: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
_TRANSFERS: Final = (wire.IXFR, wire.AXFR)
_FORBIDDEN_TYPES: Final = (0, wire.OPT, 128, 249, 250)  # and NXNAME, TKEY, TSIG: not types that a question may have


class Miss(NamedTuple):
    """A query that needs an upstream, with the key and value of its resolution, which may be stale or None."""

    context: QueryContext
    key: bytes = b""
    resolution: Resolution | None = None


class Resolver:
    """The resolver of queries under rulesets. Its sockets are those of its upstreams: close them to close it."""

    def __init__(
        self,
        upstreams: UpstreamPool,
        decide: Decide,
        *,
        clocks: Clocks | None = None,
        answer_policy: AnswerPolicy | None = None,
        cache_octets: int = CACHE_OCTETS,
    ) -> None:
        answer_octets = int(cache_octets * _ANSWERS_SHARE)
        self.upstreams = upstreams
        self.clocks = clocks or Clocks()
        self.answers = AnswerCache(answer_octets, self.clocks)
        self.resolutions: ClockCache[Resolution] = ClockCache(cache_octets - answer_octets)
        self._policy = answer_policy or AnswerPolicy(decide)
        self._tunnel_detector = TunnelDetector()
        self._rewriter = Rewriter(self.answers, self.clocks.steady)

    def swap(
        self, decide: Decide, upstreams: UpstreamPool | None = None, answer_policy: AnswerPolicy | None = None
    ) -> None:
        """Use a new snapshot. Answers under the old one are forgotten, also those in flight.

        Resolutions are kept unless the upstreams are new. The caller closes the old upstreams.
        """
        self._policy = answer_policy or AnswerPolicy(decide)
        self.answers.start_epoch()
        if upstreams is not None:
            self.upstreams = upstreams
            self.resolutions.clear()
            self._rewriter.forget()

    @property
    def decide(self) -> Decide:
        return self._policy.decide

    @property
    def settings(self) -> ResolverSettings:
        return self._policy.settings

    async def answer(
        self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str, decision: Decision | None = None
    ) -> Answer:
        """Answer one query.

        `decision` is that on its name, if there is one already. Never raises, whatever clients or upstreams send.
        """
        found = self.try_answer(ruleset, device, data, transport, decision)
        if isinstance(found, Answer):
            return found
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.forward(found, lambda done: None if answer.done() else answer.set_result(done))
        return await answer

    def try_answer(
        self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str, decision: Decision | None = None
    ) -> Answer | Miss:
        """Answer a query without an upstream, or return what `forward` takes."""
        if len(data) < wire.HEADER or data[2] & 0x80:
            return Answer(None)  # no header, or a response: two servers must not answer each other forever
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

    def forward(self, miss: Miss, done: AnswerCallback) -> None:
        """Answer a miss with the help of upstreams. `done` is called once, perhaps before this returns."""
        context, resolution = miss.context, miss.resolution
        if context.decision.verdict is Verdict.REWRITE:
            self._rewriter.start(_pool_for(self.upstreams, context), context, context.decision, done)
        elif resolution is not None and resolution.fresh_until > self.clocks.steady() and not context.is_lifeline:
            self._deliver(context, self._answer_from(context, resolution), done)
        else:
            upstreams, clock = _pool_for(self.upstreams, context), self.clocks.steady
            pending = PendingQuery(upstreams, resolution, clock, lambda outcome: self._conclude(miss, outcome, done))
            pending.start(context.query)

    def prefetch(self, key: bytes) -> None:
        """Refresh the resolution behind the answer with this key, which is about to expire."""
        if self.upstreams.is_busy:
            return
        # Without the client's EDNS options, which no upstream sees.
        query, upstreams = wire.query_of(key[RULESET_OCTETS:]), self.upstreams

        def on_outcome(outcome: UpstreamOutcome) -> None:
            if isinstance(outcome, Response) and upstreams is self.upstreams:
                self.store_response(resolution_key(query), query, outcome)

        start_following(upstreams, UpstreamQuestion.of(query), on_outcome)

    def store_response(self, key: bytes, query: Query, response: Response) -> Resolution:
        """Keep an upstream's answer under the query's `resolution_key`."""
        targets = answers.cname_chain(response, query.name)
        owners = {query.name, *targets}  # records of other owners are left out of the answer, and need not be judged
        aliases = (*targets, *answers.svcb_targets(response, owners))
        resolution = Resolution(
            answers.forwarded(query, response, targets),
            tuple(map(wire.host_of, aliases)),
            responses.address_hints(response, owners),
            self.clocks.steady(),
            unfiltered=_with_ech(query, response, targets),
        )
        if resolution.fresh_until > resolution.created_at:
            self.resolutions.put(key, resolution, resolution.created_at)
        return resolution

    def _conclude(self, miss: Miss, outcome: Outcome, done: AnswerCallback) -> None:
        """Finish a miss, and answer the client unless it has a stale answer already."""
        try:
            answer = self._answer_outcome(miss, outcome)
        except Exception:
            answer = internal_error(miss.context.query)
        if not (isinstance(outcome, Fresh) and outcome.is_late):
            self._deliver(miss.context, answer, done)

    def _answer_outcome(self, miss: Miss, outcome: Outcome) -> Answer | Decision:
        context = miss.context
        match outcome:
            case Fresh(response):
                return self._answer_from(context, self._learn(miss, response))
            case Stale(resolution, keep):
                draft = answers.stale(resolution.draft, keep=keep)
                return self._answer_from(
                    context, Resolution(draft, resolution.targets, resolution.hints, self.clocks.steady())
                )
            case Failed(error):
                return self.answers.build(context, context.decision, answers.failed(str(error), error.ede, error.rcode))
            case never:
                assert_never(never)

    def _learn(self, miss: Miss, response: Response) -> Resolution:
        """Keep a response, unless another client that waited for the same one did so a moment ago."""
        context, now = miss.context, self.clocks.steady()
        if _is_tunnel_checked(context):
            self._tunnel_detector.record(
                context.ruleset.limited_as(context.device),
                context.host,
                len(context.query.name) + len(response.data),
                now,
            )
        known = self.resolutions.get(miss.key, now)
        is_known = known is not None and known.fresh_until > now and not context.is_lifeline
        return known if known is not None and is_known else self.store_response(miss.key, context.query, response)

    def _deliver(self, context: QueryContext, answer: Answer | Decision, done: AnswerCallback) -> None:
        if isinstance(answer, Decision):
            self._rewriter.start(_pool_for(self.upstreams, context), context, answer, done)
        else:
            done(answer)

    def _answer_locally(
        self, ruleset: Ruleset, device: DeviceId, query: Query, transport: str, decided: Decision | None = None
    ) -> Answer | Miss:
        host, policy, build = query.host, self._policy, self.answers.build
        prefix = self.answers.prefix(ruleset)
        reserved = special_use(host)
        if reserved is not None:
            context = QueryContext(ruleset, device, query, host, transport, _SPECIAL_USE, prefix, policy)
            if host == DDR_NAME and policy.ddr is not None:
                return build(context, _SPECIAL_USE, policy.ddr.answer(query))
            return build(
                context, _CANARY if reserved is SpecialUse.CANARY else _SPECIAL_USE, special_use_answer(query, reserved)
            )
        if policy.pages is not None and host == policy.pages.host:
            context = QueryContext(ruleset, device, query, host, transport, _SPECIAL_USE, prefix, policy)
            return build(context, _SPECIAL_USE, answers.addresses(query, policy.pages.addresses, OWN_NAME_TTL))
        decision = decided or policy.decide(
            ruleset, Request(device, RequestKind.DNS, host, dns_type=type_name(query.qtype))
        )
        context = QueryContext(ruleset, device, query, host, transport, decision, prefix, policy)
        if decision.verdict is Verdict.BLOCK:
            return self.answers.build_blocked(context, decision)
        record = policy.names.answer(host, query)
        if record is not None:
            return build(context, decision, record)
        zone = private_zone(host)
        if zone is not None and not self.upstreams.may_ask(query.name):
            return build(context, decision, answers.negative(wire.NOERROR if host == zone else wire.NXDOMAIN))
        if query.qtype == wire.ANY:
            return build(context, decision, answers.minimal_any())
        if not query.data[2] & 1:
            return Answer(answers.message(query, Draft(wire.REFUSED)))  # without RD: nobody may look into the cache
        if decision.verdict is Verdict.REWRITE:
            return self._rewriter.try_answer(context, decision) or Miss(context)
        now = self.clocks.steady()
        if _is_tunnel_checked(context) and self._tunnel_detector.is_blocked(ruleset.limited_as(device), host, now):
            return self.answers.build_blocked(context, _TUNNEL, lifetime=0.0)  # other devices share the ruleset
        key = resolution_key(query) + _pool_for(self.upstreams, context).key
        resolution = self.resolutions.get(key, now)
        if resolution is not None and resolution.fresh_until > now and not context.is_lifeline:
            answer = self._answer_from(context, resolution)
            if isinstance(answer, Answer):
                return answer
        return Miss(context, key, resolution)

    def _answer_from(self, context: QueryContext, resolution: Resolution) -> Answer | Decision:
        """Build the answer from a resolution, or return the decision to rewrite it."""
        policy = context.answer_policy
        kind = type_name(context.query.qtype)
        decision = policy.judge_resolution(
            context.ruleset, context.device, context.host, context.decision, resolution, kind
        )
        if decision.verdict is Verdict.REWRITE:
            return decision
        if decision.verdict is Verdict.BLOCK:
            return self.answers.build_blocked(context, decision)
        draft = resolution.draft
        if resolution.unfiltered is not None and not policy.is_filtered(context.ruleset):
            draft = resolution.unfiltered
        return self.answers.build_from(context, decision, resolution, draft)


def refresh(resolver: Resolver, key: bytes, entry: CacheEntry, now: float) -> bool:
    """Patch the TTLs of a cached answer that is asked for; False if it has expired.

    It is asked for again a little before that.
    """
    if not entry.refresh(now):
        return False
    if entry.wants_prefetch and now >= entry.prefetch_at:
        entry.wants_prefetch = False
        resolver.prefetch(key)
    return True


def _pool_for(upstreams: UpstreamPool, context: QueryContext) -> UpstreamPool:
    """Return the pool with the client's own upstreams, if it has any. Names of this network stay with the network's."""
    own = upstreams.others.get(context.ruleset.upstream)
    if own is None or private_zone(context.host) is not None:
        return upstreams
    return upstreams if upstreams.zone_pool(context.query.name + bytes(4)) is not None else own


def _refusal(query: Query) -> Draft | None:
    """Return the answer to a question that is invalid in itself."""
    if query.edns is not None and query.edns.version != 0:
        return Draft(wire.BADVERS)
    if query.qtype in _FORBIDDEN_TYPES:
        return Draft(wire.FORMERR)
    if query.qclass != wire.IN or query.qtype in _TRANSFERS:
        return Draft(wire.REFUSED)
    return None


def _is_tunnel_checked(context: QueryContext) -> bool:
    """Return whether the device is kept from tunnels, and has not been allowed this name."""
    return bool(context.ruleset.rules.bypass) and context.decision.reason not in TRUSTED


def _with_ech(query: Query, response: Response, targets: tuple[bytes, ...]) -> Draft | None:
    if query.qtype not in (wire.SVCB, wire.HTTPS) or not answers.has_ech(response):
        return None
    return answers.forwarded(query, response, targets, keep_ech=True)
