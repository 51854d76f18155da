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

from hedgerow.dns import answers, designation, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import NEVER, ClockCache, Entry, Resolution, learn_suffix, resolution_key
from hedgerow.dns.cases import Answer, Case, Clocks, Done
from hedgerow.dns.errands import Errand
from hedgerow.dns.private_zones import private_zone
from hedgerow.dns.rulings import TRUSTED, Circumstances, Decide
from hedgerow.dns.series import SeriesTable, type_name
from hedgerow.dns.special_names import NXDOMAIN_WHEN_BLOCKED, Special, special, special_answer
from hedgerow.dns.tunnel_watch import TunnelWatch
from hedgerow.dns.twins import Twins
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.inquiries import Outcome, Upstreams
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import Ask, UpstreamError
from hedgerow.dns.wire import Malformed, Query
from hedgerow.policies.decide import WELCOMED
from hedgerow.policies.model import Decision, DeviceId, Kind, Reason, Request, Verdict
from hedgerow.policies.resolver_settings import BlockedAnswer, ResolverSettings
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger(__name__)

MAX_ANSWERS: Final = 10_000
MAX_RESOLUTIONS: Final = 10_000
CACHE_OCTETS: Final = 20 << 20
_ANSWERS_SHARE: Final = 0.4  # of the cache; the rest is for what upstreams said
_RENEWED_AT: Final = 0.9  # the part of its life after which a popular answer is asked for anew
_WORTH_RENEWING: Final = 10.0  # seconds

_CANARY: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "canary")
_TUNNEL: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "tunnel")
_SPECIAL: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
OPEN_PAGE: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
"""About a name whose page was judged and found open: what holds for it then is no answer for anybody else."""
_TRANSFERS: Final = (wire.IXFR, wire.AXFR)
_NEVER_ASKED: Final = (0, wire.OPT, 128, 249, 250)  # and NXNAME, TKEY, TSIG: not types that a question may have


class Resolver:
    """Answers queries under rulesets. Its sockets are those of its upstreams; close it to end them."""

    def __init__(
        self,
        upstreams: Upstreams,
        decide: Decide,
        *,
        clocks: Clocks | None = None,
        circumstances: Circumstances | None = None,
        cache_octets: int = CACHE_OCTETS,
    ) -> None:
        for_answers = int(cache_octets * _ANSWERS_SHARE)
        self.upstreams = upstreams
        self.clocks = clocks or Clocks()
        self.answers: ClockCache[Entry] = ClockCache(MAX_ANSWERS, for_answers)
        self.resolutions: ClockCache[Resolution] = ClockCache(MAX_RESOLUTIONS, cache_octets - for_answers)
        self.suffixes: dict[bytes, bytes] = {}  # for datagrams: see `cache.learn_suffix`
        self._suffixes: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict, udp=self.suffixes)
        self._circumstances = circumstances or Circumstances(decide)
        self._tunnels = TunnelWatch()
        self._twins = Twins(self.clocks.steady)
        self._epoch = 0
        self._series = SeriesTable()
        self._tasks: set[asyncio.Task[None]] = set()

    def swap(self, decide: Decide, upstreams: Upstreams | None = None, circumstances: Circumstances | None = None) -> None:
        """A new snapshot: what was decided under the old one is forgotten, also by answers that are still on their way.

        What the upstreams said is kept unless there are new ones. The caller closes the old ones.
        """
        self._circumstances = circumstances or Circumstances(decide)
        self._epoch += 1
        self.answers.clear()
        if upstreams is not None:
            self.upstreams = upstreams
            self.resolutions.clear()
            self._twins.forget()

    @property
    def decide(self) -> Decide:
        return self._circumstances.decide

    @property
    def settings(self) -> ResolverSettings:
        return self._circumstances.settings

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
        found = self.at_once(ruleset, device, data, transport, decision)
        if isinstance(found, Answer):
            return found
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.forward(found, lambda done: None if answer.done() else answer.set_result(done))
        return await answer

    def at_once(self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str, decision: Decision | None = None) -> Answer | Case:
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
        return self._judge(ruleset, device, query, transport, decision)

    def forward(self, case: Case, done: Done) -> None:
        """Ask upstream and judge what comes back; `done` is called once."""
        if case.decision.verdict is Verdict.REWRITE:
            self._spawn(self._rewrite(case, case.decision, done))
            return
        Errand(self, case, done).start()

    def renew(self, entry: Entry) -> None:
        """Ask again for what will soon have expired and is still wanted; the answer waits among the resolutions."""
        if self.upstreams.is_busy:
            return
        query, upstreams = entry.query, self.upstreams

        def arrived(outcome: Outcome) -> None:
            if isinstance(outcome, Response) and upstreams is self.upstreams:
                self.learn(query, outcome)

        upstreams.start(Ask.of(query), arrived)

    def learn(self, query: Query, response: Response) -> Resolution:
        """Keep what the upstreams said."""
        targets = answers.chain(response, query.name)
        owners = {query.name, *targets}  # what strangers' records hold is left out, and need not be judged
        stands_for = (*targets, *answers.service_targets(response, owners))
        resolution = Resolution(
            answers.forwarded(query, response, targets),
            tuple(map(wire.host_of, stands_for)),
            responses.addresses_of(response, owners),
            self.clocks.steady(),
            unfiltered=_with_ech(query, response, targets),
        )
        if resolution.draft.lifetime > 0:
            self.resolutions.put(resolution_key(query), resolution, resolution.born)
        return resolution

    def weigh(self, case: Case, response: Response) -> None:
        """What a client sent out into the world, and what it got."""
        if _is_watched(case):
            self._tunnels.carried(case.device, case.host, len(case.query.name) + len(response.data), self.clocks.steady())

    def conclude(self, case: Case, resolution: Resolution, done: Done) -> None:
        """Judge what was found, and finish."""
        answer = self._judged(case, resolution)
        if isinstance(answer, Decision):
            self._spawn(self._rewrite(case, answer, done))
        else:
            done(answer)

    def give_stale(self, case: Case, resolution: Resolution, done: Done, *, keep: bool) -> None:
        """The same with what was found some time ago, for want of better."""
        old = Resolution(answers.stale(resolution.draft, keep=keep), resolution.targets, resolution.addresses, self.clocks.steady())
        self.conclude(case, old, done)

    def give_up(self, case: Case, fault: UpstreamError, done: Done) -> None:
        """Nobody answers, and nothing is known of it."""
        done(self._finish(case, case.decision, answers.failed(str(fault), fault.ede)))

    def give_in(self, case: Case, done: Done) -> None:
        """Something is wrong with ourselves."""
        log.exception("a query could not be answered")
        done(Answer(answers.error(case.query.data, wire.SERVFAIL, case.query.end)))

    def _judge(self, ruleset: Ruleset, device: DeviceId, query: Query, transport: str, decided: Decision | None = None) -> Answer | Case:
        host, around = query.host, self._circumstances
        reserved = special(host)
        if reserved is not None:
            case = Case(ruleset, device, query, host, transport, _SPECIAL, self.prefix(ruleset), around)
            if host == designation.NAME and around.designation is not None:
                return self._finish(case, _SPECIAL, around.designation.answer(query))
            return self._finish(case, _CANARY if reserved is Special.CANARY else _SPECIAL, special_answer(query, reserved))
        decision = decided or around.decide(ruleset, Request(device, Kind.DNS, host, dns_type=type_name(query.qtype)))
        case = Case(ruleset, device, query, host, transport, decision, self.prefix(ruleset), around)
        if decision.verdict is Verdict.BLOCK:
            return self._finish(case, decision, self._blocked(case, decision))
        record = around.names.answer(host, query)
        if record is not None:
            return self._finish(case, decision, record)
        zone = private_zone(host)
        if zone is not None and not self.upstreams.may_ask(query.name):
            return self._finish(case, decision, answers.no_such_data(wire.NOERROR if host == zone else wire.NXDOMAIN))
        if query.qtype == wire.ANY:
            return self._finish(case, decision, answers.any_refused())
        if not query.data[2] & 1:
            return Answer(answers.message(query, Draft(wire.REFUSED)))  # no recursion wanted: nobody may look into the cache
        if decision.verdict is Verdict.REWRITE:
            return self._rewrite_at_once(case)
        now = self.clocks.steady()
        if _is_watched(case) and self._tunnels.is_shut(device, host, now):
            return self._finish(case, _TUNNEL, self._blocked(case, _TUNNEL)._replace(lifetime=0.0))  # others have the same ruleset
        known = self.resolutions.get(resolution_key(query), now)
        if known is None or known.fresh_until <= now:
            return case
        answer = self._judged(case, known)
        return case if isinstance(answer, Decision) else answer

    def _rewrite_at_once(self, case: Case) -> Answer | Case:
        target, query = case.decision.target, case.query
        try:
            ip_address(target)
        except ValueError:
            if query.qtype in (wire.A, wire.AAAA):
                return case
            return self._finish(case, case.decision, answers.rewritten(query, wire.name_of(target), None))
        return self._finish(case, case.decision, answers.addresses(query, (target,), 300))

    def _judged(self, case: Case, resolution: Resolution) -> Answer | Decision:
        """The answer from what was found; the decision if that is to put another in its place."""
        around = case.circumstances
        kind = type_name(case.query.qtype)
        decision = around.judge_found(case.ruleset, case.device, case.host, case.decision, resolution, kind)
        if decision.verdict is Verdict.REWRITE:
            return decision
        if decision.verdict is Verdict.BLOCK:
            return self._finish(case, decision, self._blocked(case, decision))
        draft = resolution.draft
        if resolution.unfiltered is not None and not around.is_filtered(case.ruleset):
            draft = resolution.unfiltered
        return self._finish(case, decision, draft, resolution.born)

    def _blocked(self, case: Case, decision: Decision) -> Draft:
        settings = case.circumstances.settings
        how = settings.blocked_answer
        if case.host in NXDOMAIN_WHEN_BLOCKED:
            how = BlockedAnswer.NXDOMAIN
        elif how is BlockedAnswer.PAGE and not case.ruleset.trusts_ca and decision.reason not in WELCOMED:
            how = BlockedAnswer.ZERO  # the page's certificate would only frighten; whoever has nothing else is welcomed there by HTTP
        return answers.blocked(case.query, decision, how, settings.block_page)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rewrite(self, case: Case, decision: Decision, done: Done) -> None:
        try:
            decision, draft = await self._rewritten(case, decision)
        except UpstreamError as fault:
            draft = answers.failed(str(fault), fault.ede)
        except Exception:
            self.give_in(case, done)
            return
        done(self._finish(case, decision, draft))

    async def _rewritten(self, case: Case, decision: Decision) -> tuple[Decision, Draft]:
        """The target's addresses under the asked name. A target that does not resolve blocks: it must not open what it guards."""
        query = case.query
        try:
            address = str(ip_address(decision.target))
        except ValueError:
            target = wire.name_of(decision.target)
        else:
            return decision, answers.addresses(query, (address,), 300)
        if query.qtype not in (wire.A, wire.AAAA):
            return decision, answers.rewritten(query, target, None)
        response, is_old = await self._twins.ask(self.upstreams, target + query.suffix[:4])
        resolves = answers.has_type(response, query.qtype)
        if not resolves:
            other = wire.A if query.qtype == wire.AAAA else wire.AAAA
            resolves = answers.has_type((await self._twins.ask(self.upstreams, target + pack("!HH", other, wire.IN)))[0], other)
        if resolves:
            draft = answers.rewritten(query, target, response)
            return decision, answers.stale(draft, keep=True) if is_old else draft
        blocked = Decision(Verdict.BLOCK, decision.reason, decision.what, decision.rule, decision.until)
        return blocked, self._blocked(case, blocked)._replace(lifetime=10.0)

    def _finish(self, case: Case, decision: Decision, draft: Draft, born: float | None = None) -> Answer:
        """Render for this asker and remember, unless the draft is not to be kept."""
        query = case.query
        now = self.clocks.steady()
        until = _earliest(case.ruleset.until, decision.until)
        key = case.prefix + query.key
        entry = Entry(
            answers.render(query, draft),
            draft,
            born=now if born is None else born,
            until=NEVER if until is NEVER else now + (until - self.clocks.wall()),
            key=key,
            decision=decision,
            series=self._series.of(decision, case.transport, query.qtype, case.ruleset.profile),
        )
        if query.cacheable and born is not None and entry.expires - born >= _WORTH_RENEWING:
            entry.renew_at = born + _RENEWED_AT * (entry.expires - born)
        entry.refresh(now)
        if query.cacheable and entry.expires > now and case.decision is not OPEN_PAGE:
            self.answers.put(key, entry, now)
            learn_suffix(self.suffixes_for(case.transport), query)
        return Answer(entry.message(query.data, query.end), entry)


def _refusal(query: Query) -> Draft | None:
    """What is wrong with the question as such."""
    if query.edns is not None and query.edns.version != 0:
        return Draft(wire.BADVERS)
    if query.qtype in _NEVER_ASKED:
        return Draft(wire.FORMERR)
    if query.qclass != wire.IN or query.qtype in _TRANSFERS:
        return Draft(wire.REFUSED)
    return None


def _is_watched(case: Case) -> bool:
    """Whether whoever asks is to be kept from tunnels, and has not been allowed this name."""
    return bool(case.ruleset.rules.bypass) and case.decision.reason not in TRUSTED


def _with_ech(query: Query, response: Response, targets: tuple[bytes, ...]) -> Draft | None:
    if query.qtype not in (wire.SVCB, wire.HTTPS) or not answers.has_ech(response):
        return None
    return answers.forwarded(query, response, targets, keep_ech=True)


def _earliest(*instants: float | None) -> float:
    return min((instant for instant in instants if instant is not None), default=NEVER)
