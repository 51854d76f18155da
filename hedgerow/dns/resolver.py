"""The miss path: parse, judge, forward, judge what came back, remember.

What needs no upstream is answered at once (`Resolver.at_once`), so that a blocked name costs no task and no turn of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import Final, NamedTuple, assert_never

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import ClockCache, Entry, Resolution, learn_suffix
from hedgerow.dns.inquiries import Upstreams, addresses_in
from hedgerow.dns.special_names import NXDOMAIN_WHEN_BLOCKED, Special, special
from hedgerow.dns.upstream import Ask, UpstreamError
from hedgerow.dns.wire import Malformed, Query
from hedgerow.policies.model import Decision, DeviceId, Kind, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset

type Decide = Callable[[Ruleset, Request], Decision]

MAX_ANSWERS: Final = 10_000
MAX_ANSWER_OCTETS: Final = 8 << 20
MAX_RESOLUTIONS: Final = 10_000
MAX_RESOLUTION_OCTETS: Final = 12 << 20

_CANARY: Final = Decision(Verdict.BLOCK, Reason.BYPASS, "canary")
_SPECIAL: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
_TRANSFERS: Final = (251, 252)  # IXFR, AXFR
_NEVER_ASKED: Final = (0, wire.OPT, 128, 249, 250)  # and NXNAME, TKEY, TSIG: not types that a question may have
# A parent who allows a name has allowed what the name stands for.
_TRUSTED: Final = (Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION)


class Answer(NamedTuple):
    """What to send (None: nothing) and the entry that says what was decided (None: nothing was)."""

    message: bytes | None
    entry: Entry | None = None


class Addresses(NamedTuple):
    """Where a host is for a device: none if it is blocked, or does not exist, or `failed` (no upstream answered)."""

    addresses: tuple[str, ...]
    decision: Decision
    failed: bool = False


class Clocks(NamedTuple):
    """Both clocks: TTLs run by the steady one, rulesets end by the one on the wall."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Case(NamedTuple):
    """A query that must be forwarded, with who asks and what was decided about its name."""

    ruleset: Ruleset
    device: DeviceId
    query: Query
    host: str
    transport: str
    decision: Decision
    prefix: bytes
    decide: Decide  # of the snapshot that the ruleset belongs to


class Resolver:
    """Answers queries under rulesets. Its sockets are those of its upstreams; close it to end them."""

    def __init__(self, upstreams: Upstreams, decide: Decide, *, clocks: Clocks | None = None) -> None:
        self.upstreams = upstreams
        self.clocks = clocks or Clocks()
        self.answers: ClockCache[Entry] = ClockCache(MAX_ANSWERS, MAX_ANSWER_OCTETS)
        self.resolutions: ClockCache[Resolution] = ClockCache(MAX_RESOLUTIONS, MAX_RESOLUTION_OCTETS)
        self.suffixes: dict[bytes, bytes] = {}  # for datagrams: see `cache.learn_suffix`
        self.stream_suffixes: dict[bytes, bytes] = {}
        self._decide = decide
        self._epoch = 0

    def swap(self, decide: Decide, upstreams: Upstreams | None = None) -> None:
        """A new snapshot: what was decided under the old one is forgotten, also by answers that are still on their way.

        What the upstreams said is kept unless there are new ones. The caller closes the old ones.
        """
        self._decide = decide
        self._epoch += 1
        self.answers.clear()
        if upstreams is not None:
            self.upstreams = upstreams
            self.resolutions.clear()

    def prefix(self, ruleset: Ruleset) -> bytes:
        """The first part of cache keys: ids of rulesets are unique within one snapshot only."""
        return pack("!II", self._epoch & 0xFFFFFFFF, ruleset.id)

    async def answer(self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str) -> Answer:
        """The answer to one query. Never raises for anything that a client or an upstream sent."""
        found = self.at_once(ruleset, device, data, transport)
        return found if isinstance(found, Answer) else await self.forward(found)

    def at_once(self, ruleset: Ruleset, device: DeviceId, data: bytes, transport: str) -> Answer | Case:
        """The answer as far as no upstream is needed, else the case to be forwarded."""
        if len(data) < wire.HEADER or data[2] & 0x80:
            return Answer(None)  # nothing to answer to, or an answer itself: two servers must not answer each other for ever
        if data[2] & 0x78:
            return Answer(answers.error(data, wire.NOTIMP))
        try:
            query = wire.parse_query(data, stream=transport != "udp")
        except Malformed:
            return Answer(answers.error(data, wire.FORMERR))
        refusal = _refusal(query)
        if refusal is not None:
            return Answer(self._once(query, refusal))
        return self._judge(ruleset, device, query, transport)

    async def forward(self, case: Case) -> Answer:
        """Ask upstream and judge what comes back."""
        decision, draft, born = await self._resolved(case)
        return self._finish(case, decision, draft, born)

    async def addresses(self, ruleset: Ruleset, device: DeviceId, host: str) -> Addresses:
        """The addresses that the device would get for `host` by DNS, IPv4 first; an address is its own address."""
        try:
            return Addresses((str(ip_address(host)),), _SPECIAL)
        except ValueError:
            pass
        try:
            name = wire.name_of(host)
        except ValueError:
            return Addresses((), _SPECIAL)
        both = await asyncio.gather(*(self._address(ruleset, device, name, rtype) for rtype in (wire.A, wire.AAAA)))
        decision = next((found.decision for found in both if found.decision.verdict is Verdict.BLOCK), both[0].decision)
        if decision.verdict is Verdict.BLOCK:
            return Addresses((), decision)
        texts = tuple(text for found in both for text in found.addresses)
        return Addresses(texts, decision, failed=not texts and any(found.failed for found in both))

    async def _address(self, ruleset: Ruleset, device: DeviceId, name: bytes, rtype: int) -> Addresses:
        data = b"\0\0\x01\0" + pack("!HHHH", 1, 0, 0, 0) + name + pack("!HH", rtype, wire.IN)
        answer = await self.answer(ruleset, device, data, "gate")
        if answer.message is None or answer.entry is None or answer.entry.decision is None:
            return Addresses((), _SPECIAL, failed=True)
        decision = answer.entry.decision
        if decision.verdict is Verdict.BLOCK:
            return Addresses((), decision)
        response = wire.parse_response(answer.message, data[wire.HEADER :])
        return Addresses(tuple(addresses_in(response)), decision, failed=response.rcode == wire.SERVFAIL)

    def _judge(self, ruleset: Ruleset, device: DeviceId, query: Query, transport: str) -> Answer | Case:
        host = query.host
        case = Case(ruleset, device, query, host, transport, _SPECIAL, self.prefix(ruleset), self._decide)
        reserved = special(host)
        if reserved is not None:
            return self._finish(case, _CANARY if reserved is Special.CANARY else _SPECIAL, _special_answer(query, reserved))
        decision = self._decide(ruleset, Request(device, Kind.DNS, host))
        case = case._replace(decision=decision)
        if decision.verdict is Verdict.BLOCK:
            return self._finish(case, decision, _blocked_answer(query, host, decision))
        if query.qtype == wire.ANY:
            return self._finish(case, decision, answers.any_refused())
        if not query.data[2] & 1:
            return Answer(self._once(query, Draft(wire.REFUSED)))  # no recursion wanted: nobody may look into the cache
        if decision.verdict is Verdict.REWRITE:
            return self._rewrite_at_once(case)
        known = self.resolutions.get(_resolution_key(query), self.clocks.steady())
        if known is None:
            return case
        return self._judged(case, known)

    def _rewrite_at_once(self, case: Case) -> Answer | Case:
        target, query = case.decision.target, case.query
        try:
            ip_address(target)
        except ValueError:
            if query.qtype in (wire.A, wire.AAAA):
                return case
            return self._finish(case, case.decision, answers.rewritten(query, wire.name_of(target), None))
        return self._finish(case, case.decision, answers.addresses(query, (target,), 300))

    async def _resolved(self, case: Case) -> tuple[Decision, Draft, float]:
        """Decision, draft, and when the draft was born."""
        try:
            if case.decision.verdict is Verdict.REWRITE:
                return await self._rewritten(case, case.decision)
            resolution = await self._resolution(case.query)
        except UpstreamError as fault:
            return case.decision, answers.failed(str(fault)), self.clocks.steady()
        decision = self._judge_targets(case, resolution.targets)
        match decision.verdict:
            case Verdict.BLOCK:
                return decision, answers.blocked(case.query, decision), self.clocks.steady()
            case Verdict.REWRITE:
                try:
                    return await self._rewritten(case, decision)
                except UpstreamError as fault:
                    return decision, answers.failed(str(fault)), self.clocks.steady()
            case Verdict.ALLOW | Verdict.INSPECT:
                return decision, resolution.draft, resolution.born
            case never:
                assert_never(never)

    def _judged(self, case: Case, resolution: Resolution) -> Answer | Case:
        """The answer from what is known already; the case again if a CNAME target must be rewritten."""
        decision = self._judge_targets(case, resolution.targets)
        if decision.verdict is Verdict.REWRITE:
            return case
        if decision.verdict is Verdict.BLOCK:
            return self._finish(case, decision, answers.blocked(case.query, decision))
        return self._finish(case, decision, resolution.draft, resolution.born)

    def _judge_targets(self, case: Case, targets: tuple[str, ...]) -> Decision:
        """The first decision about a CNAME target that is not to let it pass: a blocked name must not hide behind another."""
        if case.decision.reason not in _TRUSTED:
            for host in targets:
                decision = case.decide(case.ruleset, Request(case.device, Kind.DNS, host))
                if decision.verdict in (Verdict.BLOCK, Verdict.REWRITE):
                    return decision
        return case.decision

    async def _resolution(self, query: Query) -> Resolution:
        key = _resolution_key(query)
        now = self.clocks.steady()
        known = self.resolutions.get(key, now)
        if known is not None:
            return known
        dnssec = query.edns is not None and query.edns.dnssec
        ask = Ask(query.name + query.suffix[:4], dnssec, bool(query.data[3] & 0x10))
        response = await self.upstreams.ask(ask)
        targets = answers.chain(response, query.name)
        draft = answers.forwarded(query, response, targets)
        stands_for = (*targets, *answers.service_targets(response))
        resolution = Resolution(response.data, draft, tuple(map(wire.host_of, stands_for)), self.clocks.steady())
        if draft.lifetime > 0:
            self.resolutions.put(key, resolution, resolution.born)
        return resolution

    async def _rewritten(self, case: Case, decision: Decision) -> tuple[Decision, Draft, float]:
        """The target's addresses under the asked name. A target that does not resolve blocks: it must not open what it guards."""
        target, query = wire.name_of(decision.target), case.query
        if query.qtype not in (wire.A, wire.AAAA):
            return decision, answers.rewritten(query, target, None), self.clocks.steady()
        response = await self.upstreams.ask(Ask(target + query.suffix[:4]))
        if response.rcode == wire.SERVFAIL:
            raise UpstreamError(f"{decision.target} could not be resolved")
        resolves = answers.has_type(response, query.qtype)
        if not resolves:
            other = wire.A if query.qtype == wire.AAAA else wire.AAAA
            resolves = answers.has_type(await self.upstreams.ask(Ask(target + pack("!HH", other, wire.IN))), other)
        if resolves:
            return decision, answers.rewritten(query, target, response), self.clocks.steady()
        blocked = Decision(Verdict.BLOCK, decision.reason, decision.what, decision.rule, decision.until)
        return blocked, answers.blocked(query, blocked)._replace(lifetime=10.0), self.clocks.steady()

    def _finish(self, case: Case, decision: Decision, draft: Draft, born: float | None = None) -> Answer:
        """Render for this asker and remember, unless the draft is not to be kept."""
        query = case.query
        now = self.clocks.steady()
        until = _earliest(case.ruleset.until, decision.until)
        entry = Entry(
            answers.render(query, draft),
            draft,
            born=now if born is None else born,
            until=now + (until - self.clocks.wall()),
            host=case.host,
            decision=decision,
            labels=(str(decision.verdict), str(decision.reason), case.transport),
        )
        entry.refresh(now)
        if query.cacheable and entry.expires > now:
            self.answers.put(case.prefix + query.key, entry, now)
            table = self.suffixes if case.transport == "udp" else self.stream_suffixes
            learn_suffix(table, query)
        return Answer(entry.message(query.data, query.end), entry)

    def _once(self, query: Query, draft: Draft) -> bytes:
        rendered = answers.render(query, draft)
        return query.data[:2] + rendered.head + query.data[wire.HEADER : query.end] + rendered.tail


def _refusal(query: Query) -> Draft | None:
    """What is wrong with the question as such."""
    if query.edns is not None and query.edns.version != 0:
        return Draft(wire.BADVERS)
    if query.qtype in _NEVER_ASKED:
        return Draft(wire.FORMERR)
    if query.qclass != wire.IN or query.qtype in _TRANSFERS:
        return Draft(wire.REFUSED)
    return None


def _special_answer(query: Query, reserved: Special) -> Draft:
    match reserved:
        case Special.LOOPBACK:
            return answers.addresses(query, ("127.0.0.1", "::1"), answers.BLOCKED_TTL)
        case Special.NXDOMAIN | Special.CANARY:
            return answers.no_such_data(wire.NXDOMAIN)
        case Special.NODATA:
            return answers.no_such_data()
        case never:
            assert_never(never)


def _blocked_answer(query: Query, host: str, decision: Decision) -> Draft:
    if host in NXDOMAIN_WHEN_BLOCKED:
        return answers.no_such_data(wire.NXDOMAIN, (answers.EDE_FILTERED, answers.block_text(decision)))
    return answers.blocked(query, decision)


def _resolution_key(query: Query) -> bytes:
    """Name, type, class, and what changes an upstream's answer: DO and CD."""
    dnssec = query.shape & wire.DNSSEC_SHAPE
    return query.name + query.suffix[:4] + bytes((dnssec | query.data[3] & 0x10,))


def _earliest(*instants: float | None) -> float:
    return min((instant for instant in instants if instant is not None), default=float("inf"))
